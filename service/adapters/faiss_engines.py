"""Engines for main segments made of FAISS."""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Batch, Found, Numbers, scan
from service.adapters.ranking import longest_row
from service.domain import Matrix

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper

Scores = NDArray[np.float32]

_CHUNK = 1 << 16
_FEW_QUERIES = 2  # of more at once the matrix product is quicker
_SPARE = 48  # candidates beyond those wanted, so that rounding seldom calls for a second look
_MOST_FETCHED = 1024
_MOST_HALF = 6e4  # float16 ends at 65504
_HALF = 2.0**-11  # relative rounding of float16 ...
_TINY = 2.0**-25  # ... and absolute, of its smallest numbers


class HalfEngine:
    """Exact: single queries look at a copy in half precision first, which is half the memory to read.

    Rounding a vector to float16 changes a score by ``(2⁻¹¹ · ‖v‖ + 2⁻²⁵ · √d) · ‖q‖`` at most. Rows that are further
    below the k-th best than twice that cannot be among the best; the others are. Where that cannot be told from what
    was fetched, and for larger batches, all rows are looked at in full.

    Args:
        matrix: (n, d) float32.
        threads: threads inside one search.
    """

    def __init__(self, matrix: Matrix, *, threads: int = 1) -> None:
        self._matrix = matrix
        self._threads = threads
        self._d = matrix.shape[1]
        self._half = self._copy()
        self._longest = longest_row(matrix)
        self._hidden: tuple[Numbers, Any] | None = None  # the last ones, and what tells FAISS so

    def find(self, batch: Batch) -> Found:
        """The rows among which the exact best of every query are."""
        if self._half is None or len(batch.queries) > _FEW_QUERIES:
            return scan(self._matrix, batch)
        found = [self._find_one(batch, number) for number in range(len(batch.queries))]
        numbers = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        return Found(numbers, np.concatenate(found))

    def _copy(self) -> Any:
        if (
            not len(self._matrix)
            or not max(abs(float(self._matrix.max())), abs(float(self._matrix.min()))) < _MOST_HALF
        ):
            return None
        half = _engine.IndexScalarQuantizer(self._d, _engine.ScalarQuantizer.QT_fp16, _engine.METRIC_INNER_PRODUCT)
        for start in range(0, len(self._matrix), _CHUNK):
            half.add(np.ascontiguousarray(self._matrix[start : start + _CHUNK]))
        return half

    def _find_one(self, batch: Batch, number: int) -> Numbers:
        query, excluded = batch.queries[number], batch.excluded[batch.excluded_by == number]
        fetched = min(batch.k + len(excluded) + _SPARE, len(self._matrix))
        if fetched <= _MOST_FETCHED:
            scores, rows = self._fetch(query, fetched, batch.hidden)
            kept = ~np.isin(rows, excluded) if excluded.size else np.ones(len(rows), dtype=bool)
            slack = float(batch.slack[number]) + self._slack(query)
            if self._settled(scores, kept, batch.k, slack, fetched):
                scores, rows = scores[kept], rows[kept]
                least = scores[batch.k - 1] - 2 * slack if len(scores) >= batch.k else -np.inf
                return rows[scores >= least]
        alone = Batch(
            batch.queries[number : number + 1],
            batch.k,
            batch.slack[number : number + 1],
            batch.hidden,
            excluded,
            np.zeros(len(excluded), dtype=np.int64),
        )
        return scan(self._matrix, alone).rows

    def _settled(
        self, scores: NDArray[np.float32], kept: NDArray[np.bool_], k: int, slack: float, fetched: int
    ) -> bool:
        """Whether nothing that was not fetched can be among the best."""
        if len(scores) < fetched:
            return True  # there is no more
        wanted = scores[kept]
        return len(wanted) >= k and float(scores[-1]) < float(wanted[k - 1]) - 2 * slack

    def _fetch(self, query: Matrix, k: int, hidden: Numbers) -> tuple[Scores, Numbers]:
        _engine.omp_set_num_threads(self._threads)  # holds for the calling thread only
        scores, rows = self._half.search(query[None], k, params=self._parameters(hidden))
        there = rows[0] >= 0
        return scores[0][there], rows[0][there]

    def _parameters(self, hidden: Numbers) -> Any:
        if not hidden.size:
            return None
        last = self._hidden
        if last is None or last[0] is not hidden:
            shown = np.ones(len(self._matrix), dtype=bool)
            shown[hidden] = False
            # The selector reads this array in place; FAISS's Python wrapper keeps it alive.
            selector = _engine.IDSelectorBitmap(np.packbits(shown, bitorder="little"))
            self._hidden = last = (hidden, _engine.SearchParameters(sel=selector))
        return last[1]

    def _slack(self, query: Matrix) -> float:
        norm = float(np.linalg.norm(query.astype(np.float64)))
        return (_HALF * self._longest + _TINY * float(np.sqrt(self._d))) * norm
