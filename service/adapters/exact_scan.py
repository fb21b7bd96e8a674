"""The exact best rows of a matrix for many queries at once, block by block.

A block of rows is multiplied with all queries in one matrix product whose result stays in the processor's cache, and
only scores that reach a bound are looked at again. The bound is a score that enough rows are known to reach; it rises
as rows are seen, so that of a large matrix nearly all rows cost one comparison.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.adapters.ranking import rounding_bound
from service.domain import Matrix

Numbers = NDArray[np.int64]

_BLOCK = 1 << 18  # scores of a block: 1 MiB
_LOOP = 1024  # numbers in one go
_GROUPS = 256  # of rows, for the first bound
_LEAST = np.finfo(np.float32).min


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries over the same rows.

    Attributes:
        queries: (b, d) float32.
        k: how many rows each wants.
        norms: (b,) Euclidean norms of the queries.
        longest: the largest Euclidean norm of a row.
        hidden: rows that no query may find, ascending.
        excluded: rows that single queries may not find, ascending ...
        excluded_by: ... and the number of that query, for each.
    """

    queries: Matrix
    k: int
    norms: NDArray[np.float64]
    longest: float
    hidden: Numbers
    excluded: Numbers
    excluded_by: Numbers

    @property
    def slack(self) -> NDArray[np.float64]:
        """(b,) by how much a float32 score may be off the exact one."""
        return rounding_bound(self.queries.shape[1], self.longest, self.norms)


@dataclass(frozen=True, slots=True)
class Found:
    """Pairs of a query (its number in the batch) and a row, among which are all the exact k best of every query."""

    queries: Numbers
    rows: Numbers


def scan(matrix: Matrix, batch: Batch) -> Found:
    """Looks at every row of (n, d) float32; what is hidden or excluded is not found."""
    b = len(batch.queries)
    size = max(1024, _BLOCK // b)
    by_column = np.ascontiguousarray(batch.queries.T)
    best = _Best(batch)
    scores = np.empty((min(size, len(matrix)), b), dtype=np.float32)
    for start in range(0, len(matrix), size):
        block = matrix[start : start + size]
        reached = scores[: len(block)]
        np.matmul(block, by_column, out=reached)
        _hide(reached, start, batch)
        best.take(reached, start)
    return best.found()


def _hide(scores: Matrix, start: int, batch: Batch) -> None:
    end = start + len(scores)
    if batch.hidden.size:
        first, last = np.searchsorted(batch.hidden, (start, end))
        scores[batch.hidden[first:last] - start] = -np.inf
    if batch.excluded.size:
        first, last = np.searchsorted(batch.excluded, (start, end))
        scores[batch.excluded[first:last] - start, batch.excluded_by[first:last]] = -np.inf


class _Best:
    """Collects what may be among the best of each query, and knows from which score on that is possible."""

    def __init__(self, batch: Batch) -> None:
        self._k = batch.k
        self._slack = 2 * batch.slack
        self._bound = np.full(len(batch.queries), _LEAST, dtype=np.float32)
        self._queries = np.empty(0, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)
        self._scores = np.empty(0, dtype=np.float32)
        self._fresh: list[tuple[Numbers, Numbers, NDArray[np.float32]]] = []
        self._enough = 4 * batch.k * len(batch.queries)
        self._waiting = 0

    def take(self, scores: Matrix, start: int) -> None:
        """Takes the scores (rows, b) of a block of which the first row has this number."""
        if not start:
            self._begin(scores)
        places = self._reaching(scores)
        rows, queries = np.divmod(places, scores.shape[1])
        self._fresh.append((queries, rows + start, scores.reshape(-1)[places]))
        self._waiting += len(places)
        if self._waiting > self._enough:
            self._tighten()

    def _reaching(self, scores: Matrix) -> Numbers:
        """The places of the scores that reach the bound, row by row."""
        # numpy loops over the last axis, and few queries make short loops: several rows are compared as one.
        times = max(1, _LOOP // scores.shape[1])
        whole = len(scores) // times * times
        head = scores[:whole].reshape(-1, times * scores.shape[1]) >= np.tile(self._bound, times)
        places = np.flatnonzero(head)
        if whole == len(scores):
            return places
        rest = np.flatnonzero(scores[whole:] >= self._bound)
        return np.concatenate([places, rest + whole * scores.shape[1]])

    def found(self) -> Found:
        """What may be among the best, after all blocks."""
        self._tighten()
        return Found(self._queries, self._rows)

    def _begin(self, scores: Matrix) -> None:
        """A first bound: the k-th best of the maxima of groups of rows is reached by k rows at least."""
        groups = min(max(_GROUPS, 4 * self._k), len(scores) // 4)
        if groups < self._k:
            return
        whole = scores[: len(scores) // groups * groups]
        maxima = whole.reshape(-1, groups, scores.shape[1]).max(axis=0)
        self._raise(np.partition(maxima, groups - self._k, axis=0)[groups - self._k])

    def _tighten(self) -> None:
        """Raises the bound to what k rows reach, and lets go of what does not reach it any more."""
        self._queries = np.concatenate([self._queries, *(queries for queries, _, _ in self._fresh)])
        self._rows = np.concatenate([self._rows, *(rows for _, rows, _ in self._fresh)])
        self._scores = np.concatenate([self._scores, *(scores for _, _, scores in self._fresh)])
        self._fresh.clear()
        order = np.lexsort((-self._scores, self._queries))
        counts = np.bincount(self._queries, minlength=len(self._bound))
        full = np.flatnonzero(counts >= self._k)
        kth = np.full(len(self._bound), _LEAST, dtype=np.float32)
        kth[full] = self._scores[order[(np.cumsum(counts) - counts)[full] + self._k - 1]]
        self._raise(kth)
        kept = order[self._scores[order] >= self._bound[self._queries[order]]]
        self._queries, self._rows, self._scores = self._queries[kept], self._rows[kept], self._scores[kept]
        self._waiting = 0
        self._enough = max(self._enough, len(kept))

    def _raise(self, kth: NDArray[np.float32]) -> None:
        """What lies within the slack below may belong among the best all the same: it is only that exact."""
        with np.errstate(over="ignore"):
            lowered = np.nextafter((kth.astype(np.float64) - self._slack).astype(np.float32), np.float32(-np.inf))
        np.maximum(self._bound, lowered, out=self._bound)
