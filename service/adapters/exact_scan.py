"""The exact best rows of a matrix for many queries at once, block by block.

A block of rows is multiplied with all queries in one matrix product whose result stays in the processor's cache.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.adapters.ranking import rounding_bound
from service.adapters.selection import Scores, Selection, lowest, padded
from service.domain import Matrix

Numbers = NDArray[np.int64]

_BLOCK = 1 << 19  # scores of a block: 2 MiB
_LEAST_ROWS = 1024
MOST = 1e37
"""Below it, sums of products are held by float32, which ends at 3.4e38."""


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
    n, b = len(matrix), len(batch.queries)
    # Products that float32 cannot hold are made in double precision: seldom, and then right all the same.
    dtype = np.float32 if batch.longest * float(batch.norms.max(initial=0.0)) < MOST else np.float64
    by_column = np.ascontiguousarray(batch.queries.T, dtype=dtype)
    selection = Selection(batch.k, 2 * batch.slack, dtype)
    size = padded(max(_LEAST_ROWS, _BLOCK // b))
    scores = np.empty((min(size, padded(n)), b), dtype=dtype)
    for start in range(0, n, size):
        block = matrix[start : start + size].astype(dtype, copy=False)
        reached = scores[: padded(len(block))]
        np.matmul(block, by_column, out=reached[: len(block)])
        reached[len(block) :] = -np.inf
        hide(reached.T, start, batch)
        selection.take(reached.T, start)
    return Found(*selection.found())


def hide(scores: Scores, start: int, batch: Batch) -> None:
    """Gives the lowest score to what a query may not find, in the scores (b, n) of the rows from ``start`` on."""
    end, low = start + scores.shape[1], lowest(scores.dtype)
    if batch.hidden.size:
        first, last = batch.hidden.searchsorted((start, end))
        scores[:, batch.hidden[first:last] - start] = low
    if batch.excluded.size:
        first, last = batch.excluded.searchsorted((start, end))
        scores[batch.excluded_by[first:last], batch.excluded[first:last] - start] = low
