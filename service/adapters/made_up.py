"""A remembered list, made up: without what was taken away since, and with what was written since.

Where a catalogue is so large that a search takes long, that is quicker, and as exact.
"""

from collections.abc import Collection

import numpy as np

from service.adapters import kernels
from service.adapters.changes import Moment
from service.adapters.exact_scan import Numbers
from service.adapters.ranked import NamesOf, Ranked, sort_ties
from service.adapters.ranking import exact_scores, norms_of, rounding_bound
from service.adapters.remembered import Remembered
from service.queries import Query


def made_up(found: Remembered, changes: Moment, query: Query, names: NamesOf) -> Remembered | None:
    """The list as it is now; None where a writer is just changing some of it.

    Args:
        found: answers the query.
        changes: now.
        query: with nothing left out that was found to be left out, and maybe more.
        names: gives ids.
    """
    there, new = _still_there(found, changes), _alive(_reaching(found, changes, query), changes, query)
    if there is None or new is None:
        return None
    slots, scores = _in_order(there, new, query.exclude, names)
    # Of what comes after the last one of before, not all is known.
    kept = len(slots) if found.whole else int(np.count_nonzero(scores >= found.least))
    return Remembered.of(query, changes, Ranked(slots[:kept], scores[:kept]), whole=found.whole)


def _reaching(found: Remembered, changes: Moment, query: Query) -> Numbers:
    """Which of the rows at hand were written since, and may reach the last score."""
    first = found.rows - changes.first
    vectors = changes.vectors[first:]
    if found.whole or not found.scores or not len(vectors):
        return np.arange(first, len(changes.vectors))
    norms = norms_of(query.vector[None])
    least = found.least - float(rounding_bound(len(query.vector), changes.longest, norms)[0])
    if kernels.take(query.vector):
        return kernels.reaching(vectors, query.vector, least) + first
    return (~(vectors @ query.vector < least)).nonzero()[0] + first


def _still_there(found: Remembered, changes: Moment) -> Ranked | None:
    """What was not taken away since; None where a writer is just taking something away."""
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


def _in_order(some: Ranked, others: Ranked, exclude: Collection[str], names: NamesOf) -> Ranked:
    """Both together without what is excluded, best first, ties by id."""
    slots = np.concatenate([some.slots, others.slots])
    scores = np.concatenate([some.scores, others.scores])
    if exclude:
        left = [name not in exclude for name in names(slots.tolist())]
        slots, scores = slots[left], scores[left]
    order = np.argsort(-scores, kind="stable")
    slots, scores = slots[order], scores[order]
    sort_ties(slots, (scores[1:] == scores[:-1]).nonzero()[0].tolist(), names)
    return Ranked(slots, scores)
