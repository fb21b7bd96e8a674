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

import numpy as np

from service.adapters.ranking import exact_scores, norms_of, rounding_bound
from service.adapters.segments import Delta, NamesOf, View, without_rows
from service.domain import Hit, Query

SPARE = 12  # places that are kept beyond those asked for
_MOST_CHANGES = 4096  # writes that are made up for


@dataclass(frozen=True, slots=True)
class _Found:
    """The best items for a vector, once.

    Attributes:
        delta: of the index, then; another one = the segments were folded since.
        rows: how many rows it had.
        gone: how many had lost their row.
        vector: bytes of what was asked.
        exclude: what was left out beside the user's rows.
        hits: the best, best first.
        whole: whether there are no others.
    """

    delta: Delta
    rows: int
    gone: int
    vector: bytes
    exclude: frozenset[str]
    hits: list[Hit]
    whole: bool


class Recollections:
    """Lists by who asked for them, the latest ``most`` of them. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def remember(self, view: View, query: Query, k: int, hits: list[Hit]) -> None:
        """Keeps what was found of ``k`` places."""
        if query.key is None or query.allow is not None or not self._most:
            return
        vector, exclude = query.vector.tobytes(), frozenset(query.exclude)
        self._keep(
            query.key, _Found(view.delta, len(view.slots), view.gone, vector, exclude, hits, whole=len(hits) < k)
        )

    def recall(self, view: View, query: Query, names: NamesOf) -> list[Hit] | None:
        """The list for a query, as a search would give it now; None where that cannot be told."""
        if query.key is None or query.allow is not None:
            return None
        found = self._found.get(query.key)
        if found is None or not _comparable(found, view, query):
            return None
        hits = _still_there(found, view, query)
        if hits is None:
            return None
        new = _written_since(found, view, query, names)
        if new:
            hits = sorted([*hits, *new], key=lambda hit: (-hit.score, hit.item_id))
        if not found.whole and (len(hits) < query.k or not _surpasses(hits[query.k - 1], found.hits)):
            return None
        if view.gone > found.gone:
            kept = hits if found.whole else [hit for hit in hits if _surpasses(hit, found.hits)]
            exclude = frozenset(query.exclude)
            later = replace(found, rows=len(view.slots), gone=view.gone, exclude=exclude, hits=kept)
            self._keep(query.key, later)
        return hits[: query.k]

    def forget(self) -> None:
        """Lets go of everything: once the segments are folded nothing of it holds, and it would hold the old ones."""
        with self._lock:
            self._found.clear()

    def _keep(self, key: str, found: _Found) -> None:
        with self._lock:
            self._found[key] = found
            self._found.move_to_end(key)
            while len(self._found) > self._most:
                self._found.popitem(last=False)


def _surpasses(hit: Hit, kept: Sequence[Hit]) -> bool:
    """Whether it is better than everything that was not kept; of equal scores it cannot be told."""
    return bool(kept) and hit.score > kept[-1].score


def _comparable(found: _Found, view: View, query: Query) -> bool:
    return (
        found.delta is view.delta
        and view.gone - found.gone <= _MOST_CHANGES
        and found.vector == query.vector.tobytes()
        and found.exclude.issubset(query.exclude)
    )


def _still_there(found: _Found, view: View, query: Query) -> list[Hit] | None:
    """What was neither taken away since nor is excluded now; None where a writer is just taking something away."""
    if view.gone == found.gone and not query.exclude:
        return found.hits
    gone_at = [found.delta.gone_at.get(hit.item_id, -1) for hit in found.hits]
    if max(gone_at, default=-1) >= view.gone:  # that is later than this view, and may have been in between as well
        return None
    pairs = zip(found.hits, gone_at, strict=True)
    return [hit for hit, at in pairs if at < found.gone and hit.item_id not in query.exclude]


def _written_since(found: _Found, view: View, query: Query, names: NamesOf) -> list[Hit]:
    """What was written since and may belong into the list."""
    vectors = view.vectors[found.rows :]
    if not len(vectors):
        return []
    least = -np.inf
    if not found.whole and found.hits:
        norms = norms_of(query.vector[None])
        least = found.hits[-1].score - float(rounding_bound(len(query.vector), view.longest, norms)[0])
    rows = without_rows(np.flatnonzero(vectors @ query.vector >= least) + found.rows, view.delta_dead)
    slots = view.slots[rows]
    if query.exclude_rows is not None and rows.size:
        seen = np.isin(slots, query.exclude_rows)
        rows, slots = rows[~seen], slots[~seen]
    scores = exact_scores(view.vectors[rows], query.vector) + 0.0
    pairs = zip(names(slots.tolist()), scores.tolist(), strict=True)
    return [Hit(item_id, score) for item_id, score in pairs if item_id not in query.exclude]
