"""Exact search with FAISS: an immutable main segment, an exact delta beside it, and a mask of what is gone.

FAISS shifts rows on removal and cannot add during a search, so the main segment never changes: new and replaced items
go to the delta (numpy), removed ones lose their bit in a mask, and when either outgrows the main segment both are
folded into a new one. Readers take a snapshot under a short lock and search without it; only writers wait for a
compaction.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.adapters.ranking import best, candidates, exact_scores, longest_row, rounding_bound
from service.domain import Hit, Matrix, Vector

Mask = NDArray[np.bool_]

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper


class _Main:
    """An immutable segment: ids and vectors of equal order."""

    def __init__(self, item_ids: Sequence[str], vectors: Matrix) -> None:
        self.ids = list(item_ids)
        self.rows = {item_id: row for row, item_id in enumerate(self.ids)}
        self.index: Any = _engine.IndexFlatIP(vectors.shape[1])
        self.index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self.longest = longest_row(vectors)

    def candidates(self, query: Vector, k: int, mask: Mask) -> NDArray[np.int64]:
        """Rows allowed by ``mask`` that hold the exact k best among them."""
        allowed = np.count_nonzero(mask)
        if allowed <= k:
            return np.flatnonzero(mask)
        parameters = None
        if allowed < len(mask):
            # The selector reads this array in place; FAISS's Python wrapper keeps it alive.
            parameters = _engine.SearchParameters(sel=_engine.IDSelectorBitmap(np.packbits(mask, bitorder="little")))
        queries = query.reshape(1, -1)
        scores, rows = self.index.search(queries, k + 1, params=parameters)
        slack = rounding_bound(len(query), self.longest, query)
        threshold = float(scores[0, k - 1]) - 2 * slack
        if scores[0, k] < threshold:
            found: NDArray[np.int64] = rows[0, :k]
            return found
        # Ties at the end of the list, or nearly: take all that could belong there.
        _, _, near = self.index.range_search(
            queries, float(np.nextafter(np.float32(threshold), -np.inf)), params=parameters
        )
        return np.asarray(near, dtype=np.int64)

    def vectors(self, rows: NDArray[np.int64]) -> Matrix:
        """The vectors of some rows, (n, d) float32."""
        found: Matrix = self.index.reconstruct_batch(np.ascontiguousarray(rows))
        return found


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one search looks at; its masks are its own, those of the delta already without what is excluded."""

    main: _Main
    main_mask: Mask
    delta_ids: Sequence[str]
    delta: Matrix
    delta_mask: Mask
    longest: float


class FaissIndex:
    """Exact maximum-inner-product search that takes single changes cheaply.

    Args:
        item_ids: the first items.
        vectors: theirs, (n, d) float32.
        threads: threads inside one search.
        min_delta: size below which the delta is never folded in.
    """

    def __init__(self, item_ids: Sequence[str], vectors: Matrix, *, threads: int = 1, min_delta: int = 4096) -> None:
        self._d = vectors.shape[1]
        self._threads = threads
        self._min_delta = min_delta
        self._writing = threading.Lock()  # one writer at a time, compaction included
        self._lock = threading.Lock()  # short: readers and the writer meet here
        self._reset(_Main(item_ids, vectors))

    def _reset(self, main: _Main) -> None:
        self._main = main
        self._main_mask: Mask = np.ones(len(main.ids), dtype=bool)
        self._delta_ids: list[str] = []
        self._delta_rows: dict[str, int] = {}
        self._delta = np.empty((64, self._d), dtype=np.float32)
        self._delta_mask: Mask = np.zeros(64, dtype=bool)
        self._delta_longest = 0.0
        self._size = len(main.ids)

    def upsert(self, item_ids: Sequence[str], vectors: Matrix) -> None:
        """Adds or replaces items; where an id comes twice, its last vector stays."""
        if vectors.shape != (len(item_ids), self._d):
            raise ValueError(f"expected vectors {(len(item_ids), self._d)}, found {vectors.shape}")
        latest = dict(zip(item_ids, vectors, strict=True))
        if not latest:
            return
        rows = np.stack(list(latest.values()))
        with self._writing:
            with self._lock:
                for item_id in latest:
                    self._drop(item_id)
                self._append(list(latest), rows)
            self._compact_if_overgrown()

    def remove(self, item_ids: Collection[str]) -> None:
        """Removes items; unknown ids are ignored."""
        with self._writing:
            with self._lock:
                for item_id in item_ids:
                    self._drop(item_id)
            self._compact_if_overgrown()

    def search(
        self, query: Vector, k: int, *, exclude: Collection[str] = (), allow: Collection[str] | None = None
    ) -> list[Hit]:
        """The k best items by inner product, best first, ties by id ascending."""
        query = np.ascontiguousarray(query, dtype=np.float32)
        if k < 1:
            return []
        _engine.omp_set_num_threads(self._threads)  # holds for the calling thread only
        seen = self._snapshot(exclude, allow)
        _restrict(seen.main_mask, seen.main.rows, exclude, allow)
        main = seen.main.candidates(query, k, seen.main_mask)
        rows = np.flatnonzero(seen.delta_mask)
        slack = rounding_bound(self._d, seen.longest, query)
        # Not `@`: BLAS would wake threads of its own for this, which takes longer than the sum itself.
        scores = np.einsum("ij,j->i", seen.delta, query)
        delta = rows[candidates(scores[rows], k, slack)]
        ids = [seen.main.ids[row] for row in main.tolist()] + [seen.delta_ids[row] for row in delta.tolist()]
        vectors = np.concatenate([seen.main.vectors(main), seen.delta[delta]])
        return best(ids, exact_scores(vectors, query), k)

    def __len__(self) -> int:
        return self._size

    def _snapshot(self, exclude: Collection[str], allow: Collection[str] | None) -> _Snapshot:
        with self._lock:
            n = len(self._delta_ids)
            mask = self._delta_mask[:n].copy()
            # In here, because a writer may give an excluded item another row the moment the lock is free.
            _restrict(mask, self._delta_rows, exclude, allow)
            # Rows of the delta are written once and never changed, so that a view of the first n stays true.
            delta = self._delta[:n]
            return _Snapshot(self._main, self._main_mask.copy(), self._delta_ids, delta, mask, self._delta_longest)

    def _drop(self, item_id: str) -> None:
        row = self._delta_rows.pop(item_id, None)
        if row is not None:
            self._delta_mask[row] = False
            self._size -= 1
            return
        row = self._main.rows.get(item_id)
        if row is not None and self._main_mask[row]:
            self._main_mask[row] = False
            self._size -= 1

    def _append(self, item_ids: Sequence[str], rows: Matrix) -> None:
        start, end = len(self._delta_ids), len(self._delta_ids) + len(item_ids)
        if end > len(self._delta):
            capacity = max(end, 2 * len(self._delta))
            grown = np.empty((capacity, self._d), dtype=np.float32)
            grown[:start] = self._delta[:start]
            mask = np.zeros(capacity, dtype=bool)
            mask[:start] = self._delta_mask[:start]
            self._delta, self._delta_mask = grown, mask
        self._delta[start:end] = rows
        self._delta_mask[start:end] = True
        self._delta_ids.extend(item_ids)
        self._delta_rows.update(zip(item_ids, range(start, end), strict=True))
        self._delta_longest = max(self._delta_longest, longest_row(rows))
        self._size += len(item_ids)

    def _compact_if_overgrown(self) -> None:
        n_main = len(self._main.ids)
        gone = n_main - np.count_nonzero(self._main_mask)
        if len(self._delta_ids) <= max(self._min_delta, n_main // 16) and gone <= max(self._min_delta, n_main // 4):
            return
        # Only writers change what is read here, and this one holds their lock; readers go on with the old state.
        kept, added = np.flatnonzero(self._main_mask), np.flatnonzero(self._delta_mask[: len(self._delta_ids)])
        ids = [self._main.ids[row] for row in kept.tolist()] + [self._delta_ids[row] for row in added.tolist()]
        main = _Main(ids, np.concatenate([self._main.vectors(kept), self._delta[added]]))
        with self._lock:
            self._reset(main)


def _restrict(mask: Mask, rows: Mapping[str, int], exclude: Collection[str], allow: Collection[str] | None) -> None:
    """Takes out of a mask what a request excludes or does not allow."""
    if allow is not None:
        allowed = np.zeros(len(mask), dtype=bool)
        allowed[[rows[item_id] for item_id in allow if item_id in rows]] = True
        mask &= allowed
    mask[[rows[item_id] for item_id in exclude if item_id in rows]] = False
