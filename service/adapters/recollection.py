"""What was found for somebody before, and what of it still holds.

A list stays right until something is written that belongs into it. So a longer list than was asked for is kept, with
the state of the index it was made from; when the same user asks again, what was taken away since is left out, what was
written since is scored alone, and the list is as exact as a search. Where too much has changed, or too little is left,
nothing is said and the index is searched.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.adapters.ranking import exact_scores, norms_of, rounding_bound
from service.adapters.segment_search import Ranked
from service.adapters.segments import Delta, NamesOf, View, without_rows
from service.domain import Hit, Query

SPARE = 12  # places that are kept beyond those asked for
_BYTES = 8  # of a score
_ORDINARY = 64 * _BYTES
_MOST_CHANGES = 4096  # writes that are made up for


@dataclass(frozen=True, slots=True)
class _Found:
    """The best items for a vector, once; as small as can be, since there are many.

    Attributes:
        delta: of the index, then; another one = the segments were folded since.
        rows: how many rows it had.
        gone: how many had lost their row.
        vector: what stands for what was asked.
        exclude: what was left out beside the user's rows.
        slots: of the best, best first, int32.
        scores: theirs, float64.
        whole: whether there are no others.
    """

    delta: Delta
    rows: int
    gone: int
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


class _Place(NamedTuple):
    """One place of a list; in the order of places, the best is first."""

    negative: float  # score
    item_id: str
    slot: int


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
        slots, scores = ranked.slots.astype(np.int32).tobytes(), ranked.scores.tobytes()
        exclude, whole = frozenset(query.exclude), len(ranked.slots) < k
        found = _Found(view.delta, len(view.slots), view.gone, _digest(query), exclude, slots, scores, whole)
        self._keep(query.key, found)

    def recall(self, view: View, query: Query, names: NamesOf) -> list[Hit] | None:
        """The list for a query, as a search would give it now; None where that cannot be told."""
        if query.key is None or query.restricted:
            return None
        found = self._found.get(query.key)
        if found is None or not _comparable(found, view, query):
            return None
        if view.gone == found.gone and not query.exclude and len(found.scores) > query.k * _BYTES:
            hits = found.ranked.hits(names, query.k)  # nothing was written
            return hits if found.whole or hits[-1].score > found.least else None
        return self._made_up(found, view, query, names)

    def forget(self) -> None:
        """Lets go of everything: once the segments are folded nothing of it holds, and it would hold the old ones."""
        with self._lock:
            self._found.clear()
            self._weight = 0

    def _made_up(self, found: _Found, view: View, query: Query, names: NamesOf) -> list[Hit] | None:
        """The list without what was taken away, and with what was written since."""
        places = _still_there(found, view, query, names)
        if places is None:
            return None
        places = sorted([*places, *_written_since(found, view, query, names)])
        # Of scores that equal the last one kept it cannot be told what else has them.
        if not found.whole and (len(places) < query.k or not -places[query.k - 1].negative > found.least):
            return None
        if view.gone > found.gone:
            kept = places if found.whole else [place for place in places if -place.negative > found.least]
            self._keep(query.key or "", _brought_up(found, view, query, kept))
        return [Hit(place.item_id, 0.0 - place.negative) for place in places[: query.k]]

    def _keep(self, key: str, found: _Found) -> None:
        with self._lock:
            before = self._found.pop(key, None)
            self._found[key] = found
            self._weight += found.weight - (before.weight if before else 0)
            while self._weight > self._most:
                _, oldest = self._found.popitem(last=False)
                self._weight -= oldest.weight


def _brought_up(found: _Found, view: View, query: Query, places: Sequence[_Place]) -> _Found:
    """What is remembered, with what is known of a later view."""
    slots = np.array([place.slot for place in places], dtype=np.int32).tobytes()
    scores = (0.0 - np.array([place.negative for place in places], dtype=np.float64)).tobytes()
    exclude = frozenset(query.exclude)
    return replace(found, rows=len(view.slots), gone=view.gone, exclude=exclude, slots=slots, scores=scores)


def _digest(query: Query) -> bytes:
    return blake2b(query.vector.tobytes(), digest_size=16).digest()


def _comparable(found: _Found, view: View, query: Query) -> bool:
    return (
        found.delta is view.delta
        and view.gone - found.gone <= _MOST_CHANGES
        and found.vector == _digest(query)
        and found.exclude.issubset(query.exclude)
    )


def _still_there(found: _Found, view: View, query: Query, names: NamesOf) -> list[_Place] | None:
    """What was neither taken away since nor is excluded now; None where a writer is just taking something away."""
    slots, scores = found.ranked
    places = _places(slots.tolist(), scores, names)
    if view.gone == found.gone and not query.exclude:
        return places
    gone_at = [found.delta.gone_at.get(place.item_id, -1) for place in places]
    if max(gone_at, default=-1) >= view.gone:  # that is later than this view, and may have been in between as well
        return None
    pairs = zip(places, gone_at, strict=True)
    return [place for place, at in pairs if at < found.gone and place.item_id not in query.exclude]


def _written_since(found: _Found, view: View, query: Query, names: NamesOf) -> list[_Place]:
    """What was written since and may belong into the list."""
    vectors = view.vectors[found.rows :]
    if not len(vectors):
        return []
    least = -np.inf
    if not found.whole and found.scores:
        norms = norms_of(query.vector[None])
        least = found.least - float(rounding_bound(len(query.vector), view.longest, norms)[0])
    rows = without_rows(np.flatnonzero(vectors @ query.vector >= least) + found.rows, view.delta_dead)
    slots = view.slots[rows]
    if query.exclude_rows is not None and rows.size:
        seen = np.isin(slots, query.exclude_rows)
        rows, slots = rows[~seen], slots[~seen]
    places = _places(slots.tolist(), exact_scores(view.vectors[rows], query.vector), names)
    return [place for place in places if place.item_id not in query.exclude]


def _places(slots: Sequence[int], scores: NDArray[np.float64], names: NamesOf) -> list[_Place]:
    return list(map(_Place, (0.0 - scores).tolist(), names(slots), slots))
