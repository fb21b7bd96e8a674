"""A remembered list, made up: without what was changed since, and with what was written since.

That is as exact as a search: what was written is looked at in full, and of what was there before, nothing that was not
among the best then can be now, but for what takes the places of those that are gone. Therefore more is remembered than
was asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.adapters import kernels
from service.adapters.changes import Moment
from service.adapters.exact_scan import MOST, Numbers
from service.adapters.ranked import NamesOf, Ranked, sort_ties
from service.adapters.ranking import exact_scores, norms_of, rounding_bound
from service.adapters.remembered import Remembered
from service.queries import Hits, Mark, Query

SPARE = 12
"""Places that are kept beyond those asked for."""

_Places = tuple[NDArray[np.integer[Any]], NDArray[np.float64], Sequence[int]]
"""Slots and scores, best first, and the places whose score the next one has too."""


def made_up(found: Remembered, changes: Moment, query: Query, names: NamesOf) -> Remembered | None:
    """The list as it is now; None where that cannot be told, as a writer is just changing some of it, for instance.

    Args:
        found: answers the query.
        changes: now.
        query: with nothing left out that was found to be left out, and maybe more.
        names: gives ids.
    """
    after = found
    if changes.total > found.changes:
        most = max(query.k + SPARE, found.places)
        told = (_in_c if kernels.take(query.vector) else _in_numpy)(found, changes, query, most)
        if told is None:
            return None
        slots, scores, equal = told
        if equal:
            slots = slots.copy()
            sort_ties(slots, equal, names)
        after = found.brought_to(changes, Ranked(slots, scores), whole=found.whole and len(slots) < most)
    # What is left out by id and not by row is so from the list of before; it may have been written since.
    as_before = after is found and len(query.exclude) == len(found.exclude)
    return after if as_before or not query.exclude else _without(after, query, names)


def holds(hits: Hits, since: Mark, changes: Moment, query: Query) -> bool:
    """Whether nothing came between that changes what was found: nothing of it was changed, nothing reaches its end.

    Args:
        hits: what was found for the query, and is known to be right until ...
        since: ... then, all rows written after which are at hand.
        changes: now.
        query: what was asked.
    """
    if changes.total == since.changes:
        return True
    least = hits.scores[-1] if len(hits) == query.k else -np.inf
    first = since.rows - changes.first
    if kernels.take(query.vector):
        return kernels.native.holds(
            hits.slots,
            least,
            since.changes,
            changes.changed_at,
            changes.vectors,
            first,
            query.vector,
            changes.longest,
        )
    last = changes.last_changes(np.array(hits.slots, dtype=np.int64))
    reaching = _reaching(least, first, changes, query)
    return reaching is not None and not len(reaching) and last.max(initial=0) <= since.changes


def _in_c(found: Remembered, changes: Moment, query: Query, most: int) -> _Places | None:
    first = found.rows - changes.first
    told = kernels.native.made_up(
        kernels.KINDS[0],
        found.slots,
        found.scores,
        found.whole,
        changes.changed_at,
        found.changes,
        changes.total,
        changes.vectors[first:],
        changes.slots[first:],
        changes.counts[first:],
        query.vector,
        changes.longest,
        None if query.exclude_rows is None else np.ascontiguousarray(query.exclude_rows),
        most,
    )
    if told is None:
        return None
    slots, scores, equal = told
    return np.frombuffer(slots, dtype=np.int32), np.frombuffer(scores, dtype=np.float64), equal


def _in_numpy(found: Remembered, changes: Moment, query: Query, most: int) -> _Places | None:
    least = -np.inf if found.whole else found.least
    reaching = _reaching(least, found.rows - changes.first, changes, query)
    if reaching is None:
        return None
    there, new = _still_there(found, changes), _alive(reaching, changes, query)
    if there is None or new is None:
        return None
    slots, scores = np.concatenate([there.slots, new.slots]), np.concatenate([there.scores, new.scores])
    order = np.argsort(-scores, kind="stable")
    slots, scores = slots[order], scores[order]
    # Of what comes after the last one of before, not all is known.
    kept = int(np.count_nonzero(scores >= max(least, scores[most - 1] if len(scores) > most else -np.inf)))
    slots, scores = slots[:kept], scores[:kept]
    return slots, scores, (scores[1:] == scores[:-1]).nonzero()[0].tolist()


def _reaching(least: float, first: int, changes: Moment, query: Query) -> Numbers | None:
    """Which of the rows at hand, from the first on, may reach a score; None where single precision cannot tell."""
    vectors = changes.vectors[first:]
    norms = norms_of(query.vector[None])
    if not changes.longest * float(norms[0]) < MOST:
        return None
    bound = least - float(rounding_bound(len(query.vector), changes.longest, norms)[0])
    with np.errstate(over="ignore", invalid="ignore"):
        return (~(vectors @ query.vector < bound)).nonzero()[0] + first


def _still_there(found: Remembered, changes: Moment) -> Ranked | None:
    """What was not changed since; None where a writer is just changing some of it."""
    slots, scores = found.ranked
    last = changes.last_changes(slots)
    if last.max(initial=0) > changes.total:  # that is later than this moment, and may have been in between as well
        return None
    left = last <= found.changes
    return Ranked(slots[left], scores[left])


def _alive(rows: Numbers, changes: Moment, query: Query) -> Ranked | None:
    """Of rows that were written those that still hold; None where a writer is just replacing some of them."""
    slots = changes.slots[rows]
    last = changes.last_changes(slots)
    if last.max(initial=0) > changes.total:
        return None
    alive = last == changes.counts[rows]
    if query.exclude_rows is not None:
        alive &= ~np.isin(slots, query.exclude_rows)
    return Ranked(slots[alive], exact_scores(changes.vectors[rows[alive]], query.vector) + 0.0)  # no -0.0


def _without(found: Remembered, query: Query, names: NamesOf) -> Remembered:
    """The same without what is left out by now."""
    slots, scores = found.ranked
    left: Sequence[bool] = [name not in query.exclude for name in names(slots.tolist())]
    return found._replace(exclude=frozenset(query.exclude), slots=slots[left].tobytes(), scores=scores[left].tobytes())
