"""Engines for main segments made of FAISS."""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Batch, scan
from service.adapters.selection import Found, Numbers
from service.domain import Matrix

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper

Scores = NDArray[np.float32]

_CHUNK = 1 << 16
_MOST_QUERIES = 2  # of more at once the matrix product is quicker
_SPARE = 16  # candidates beyond those wanted, so that rounding seldom calls for a second look
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
        self._hidden: tuple[Numbers, Any] | None = None  # the last ones, and what tells FAISS so

    def find(self, batch: Batch) -> Found:
        """The rows among which the exact best of every query are."""
        n, b = len(self._matrix), len(batch.queries)
        most_excluded = int(np.bincount(batch.excluded_by, minlength=b).max()) if batch.excluded.size else 0
        fetched = min(batch.k + most_excluded + _SPARE, n)
        if self._half is None or b > _MOST_QUERIES or fetched > _MOST_FETCHED:
            return scan(self._matrix, batch)
        scores, rows = self._fetch(batch.queries, fetched, batch.hidden)
        kept = rows >= 0
        if most_excluded:
            kept &= ~np.isin(rows * b + np.arange(b)[:, None], batch.excluded * b + batch.excluded_by)
        slack = 2 * (batch.slack + self._slack(batch))
        enough = np.cumsum(kept, axis=1) >= batch.k
        kth = scores[np.arange(b), np.argmax(enough, axis=1)]
        least = np.where(enough[:, -1], kth - slack, -np.inf)
        # What was not fetched scores no more than what was fetched last; where nothing is left, that is rows of -1.
        settled = (scores[:, -1] < least) | (rows[:, -1] < 0) | (fetched == n)
        numbers, places = np.nonzero(kept & (scores >= least[:, None]) & settled[:, None])
        found = [Found(numbers, rows[numbers, places])]
        found += [self._look_at_all(batch, number) for number in np.flatnonzero(~settled).tolist()]
        return Found(np.concatenate([f.queries for f in found]), np.concatenate([f.rows for f in found]))

    def _look_at_all(self, batch: Batch, number: int) -> Found:
        one, mine = slice(number, number + 1), batch.excluded_by == number
        excluded = batch.excluded[mine]
        by = np.zeros(len(excluded), dtype=np.int64)
        norms, longest, hidden = batch.norms[one], batch.longest, batch.hidden
        rows = scan(self._matrix, Batch(batch.queries[one], batch.k, norms, longest, hidden, excluded, by)).rows
        return Found(np.full(len(rows), number, dtype=np.int64), rows)

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

    def _fetch(self, queries: Matrix, k: int, hidden: Numbers) -> tuple[Scores, Numbers]:
        _engine.omp_set_num_threads(self._threads)  # holds for the calling thread only
        scores, rows = self._half.search(queries, k, params=self._parameters(hidden))
        return scores, rows

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

    def _slack(self, batch: Batch) -> NDArray[np.float64]:
        return (_HALF * batch.longest + _TINY * float(np.sqrt(self._d))) * batch.norms
