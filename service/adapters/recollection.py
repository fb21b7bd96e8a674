"""What was found for somebody before, and what of it still holds.

A list stays right until something is written that belongs into it. So a longer list than was asked for is kept, with
the changes that were known when it was made; when the same user asks again, what was taken away since is left out,
what was written since is scored alone, and the list is as exact as a search. Mostly neither touches the list, which
takes two looks: when its slots were changed, and whether what was written reaches its last score. Where too much has
changed, or too little is left, nothing is said and the index is searched.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from service.adapters import kernels
from service.adapters.changes import Moment
from service.adapters.exact_scan import Numbers
from service.adapters.ranked import NamesOf, Ranked, sort_ties
from service.adapters.ranking import exact_scores, norms_of, rounding_bound
from service.adapters.segments import NONE, View
from service.queries import Hits, Query

SPARE = 12  # places that are kept beyond those asked for
_BYTES = 8  # of a score
_ORDINARY = 64 * _BYTES
_MOST_CHANGES = 4096  # writes that are made up for ...
_MANY_CHANGES = 1024  # ... and looked through where a search takes less of the event loop than a list made up


class _Found(NamedTuple):
    """The best items for a vector, once; as small as can be, since there are many.

    Attributes:
        rows: how many rows the index had been given, then.
        changes: how many there had been.
        vector: what stands for what was asked.
        exclude: what was left out beside the user's rows.
        slots: of the best, best first, int32.
        scores: theirs, float64.
        whole: whether there are no others.
    """

    rows: int
    changes: int
    vector: bytes
    exclude: frozenset[str]
    slots: bytes
    scores: bytes
    whole: bool

    @property
    def weight(self) -> int:
        """How many ordinary lists it is as large as."""
        return 1 + len(self.scores) // _ORDINARY

    @property
    def least(self) -> float:
        """The score of the last one; no number is less than it where there is none."""
        return float(np.frombuffer(self.scores, dtype=np.float64)[-1]) if self.scores else np.inf

    @property
    def ranked(self) -> Ranked:
        """What was found."""
        return Ranked(np.frombuffer(self.slots, dtype=np.int32), np.frombuffer(self.scores, dtype=np.float64))


class Recollections:
    """Lists by who asked for them, the latest ``most`` of them; long ones count for several. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def remember(self, view: View, query: Query, k: int, ranked: Ranked) -> None:
        """Keeps what was found of ``k`` places."""
        if query.key is None or query.restricted or not self._most:
            return
        slots, scores = ranked.slots.astype(np.int32, copy=False).tobytes(), ranked.scores.tobytes()
        exclude, whole = frozenset(query.exclude), len(ranked.slots) < k
        changes = view.changes
        found = _Found(changes.rows, changes.total, _digest(query), exclude, slots, scores, whole)
        self._keep(query.key, found)

    def recall(self, view: View, query: Query, names: NamesOf, *, make_up: bool = True) -> Hits | None:
        """The list for a query, as a search would give it now; None where that cannot be told.

        Args:
            view: of the index, now.
            query: with the key of who asks.
            names: gives ids.
            make_up: whether a list that has changed is made up; else nothing is said of it.
        """
        if query.key is None or query.restricted:
            return None
        found = self._found.get(query.key)
        most = _MOST_CHANGES if make_up else _MANY_CHANGES
        if found is None or not _comparable(found, view.changes, query, most):
            return None
        changes = view.changes
        written = NONE if changes.total == found.changes else _reaching(found, changes, query)
        last = changes.last_changes(found.ranked.slots).max(initial=0) if changes.total > found.changes else 0
        changed = written.size > 0 or last > found.changes
        if changed and not make_up:
            return None
        if changed or query.exclude or len(found.scores) <= query.k * _BYTES:
            return self._made_up(found, changes, query, written, names)
        if changes.total > found.changes:
            self._keep(query.key, found._replace(rows=changes.rows, changes=changes.total))
        hits = found.ranked.hits(names, query.k)
        return hits if found.whole or hits.scores[-1] > found.least else None

    def _made_up(self, found: _Found, changes: Moment, query: Query, written: Numbers, names: NamesOf) -> Hits | None:
        """The list without what was taken away, and with what was written since."""
        there, new = _still_there(found, changes), _alive(written, changes, query)
        if there is None or new is None:
            return None
        slots, scores = _in_order(there, new, query.exclude, names)
        # Of scores that equal the last one kept it cannot be told what else has them.
        if not found.whole and (len(slots) < query.k or not scores[query.k - 1] > found.least):
            return None
        if changes.total > found.changes:
            kept = len(slots) if found.whole else int(np.count_nonzero(scores > found.least))
            self._keep(query.key or "", _brought_up(found, changes, query, Ranked(slots[:kept], scores[:kept])))
        return Ranked(slots, scores).hits(names, query.k)

    def _keep(self, key: str, found: _Found) -> None:
        with self._lock:
            before = self._found.pop(key, None)
            self._found[key] = found
            self._weight += found.weight - (before.weight if before else 0)
            while self._weight > self._most:
                _, oldest = self._found.popitem(last=False)
                self._weight -= oldest.weight


def _brought_up(found: _Found, changes: Moment, query: Query, ranked: Ranked) -> _Found:
    """What is remembered, with what is known of a later moment."""
    slots, scores = ranked.slots.astype(np.int32, copy=False).tobytes(), ranked.scores.tobytes()
    exclude = frozenset(query.exclude)
    return found._replace(rows=changes.rows, changes=changes.total, exclude=exclude, slots=slots, scores=scores)


def _digest(query: Query) -> bytes:
    return blake2b(query.vector.tobytes(), digest_size=16).digest()


def _comparable(found: _Found, changes: Moment, query: Query, most: int) -> bool:
    return (
        changes.total - found.changes <= most
        and found.rows >= changes.first
        and found.vector == _digest(query)
        and found.exclude.issubset(query.exclude)
    )


def _reaching(found: _Found, changes: Moment, query: Query) -> Numbers:
    """Which of the rows at hand were written since, and may reach the last score."""
    first = found.rows - changes.first
    vectors = changes.vectors[first:]
    if found.whole or not found.scores or not len(vectors):
        return np.arange(first, len(changes.vectors))
    norms = norms_of(query.vector[None])
    least = found.least - float(rounding_bound(len(query.vector), changes.longest, norms)[0])
    if kernels.KINDS and query.vector.flags.c_contiguous and query.vector.dtype == np.float32:
        return kernels.reaching(vectors, query.vector, least) + first
    return (~(vectors @ query.vector < least)).nonzero()[0] + first


def _still_there(found: _Found, changes: Moment) -> Ranked | None:
    """What was not taken away since; None where a writer is just taking something away."""
    slots, scores = found.ranked
    if changes.total == found.changes:
        return Ranked(slots, scores)
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
