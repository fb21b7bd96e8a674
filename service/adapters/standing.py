"""What of a remembered list is right in spite of what was written since.

Whatever was written has scores of its own: places beyond the best of them are what they were, but for those that were
changed themselves. As more than was asked for is remembered, that is mostly enough.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.adapters import kernels
from service.adapters.changes import Moment
from service.adapters.ranked import NamesOf
from service.adapters.ranking import norms_of, rounding_bound
from service.adapters.remembered import Remembered
from service.queries import Query

_Places = tuple[bytes, bytes]  # slots and scores, as they are remembered


def still_right(found: Remembered, changes: Moment, query: Query, names: NamesOf) -> Remembered:
    """The leading places as they are now; there may be none.

    Args:
        found: answers the query.
        changes: now.
        query: with nothing left out that was found to be left out, and maybe more.
        names: gives ids.
    """
    after, written = found, changes.rows > found.rows
    if changes.total > found.changes:
        slots, scores = _leading(found, changes, query)
        whole = found.whole and not written
        after = found._replace(rows=changes.rows, changes=changes.total, slots=slots, scores=scores, whole=whole)
    if len(query.exclude) > len(found.exclude):
        after = _without(after, query, names)
    return after


def _leading(found: Remembered, changes: Moment, query: Query) -> _Places:
    written = changes.vectors[found.rows - changes.first :]
    if kernels.take(query.vector):
        return kernels.standing(
            found.slots,
            found.scores,
            changes.changed_at,
            written,
            query.vector,
            found.changes,
            changes.total,
            changes.longest,
        )
    slots, scores = found.ranked
    last = changes.last_changes(slots)
    right = (scores > _best_of(written, changes, query)) & (last <= changes.total)
    end = len(right) if right.all() else int(right.argmin())
    left = last[:end] <= found.changes
    return slots[:end][left].tobytes(), scores[:end][left].tobytes()


def _best_of(written: NDArray[np.float32], changes: Moment, query: Query) -> float:
    """What no exact score of what was written is beyond; infinite where that cannot be told."""
    if not len(written):
        return -np.inf
    with np.errstate(over="ignore", invalid="ignore"):
        products = written @ query.vector
    if not np.isfinite(products).all():
        return np.inf
    bound = rounding_bound(len(query.vector), changes.longest, norms_of(query.vector[None]))
    return float(products.max()) + float(bound[0])


def _without(found: Remembered, query: Query, names: NamesOf) -> Remembered:
    """The same without what is left out by now."""
    slots, scores = found.ranked
    left: Sequence[bool] = [name not in query.exclude for name in names(slots.tolist())]
    return found._replace(exclude=frozenset(query.exclude), slots=slots[left].tobytes(), scores=scores[left].tobytes())
