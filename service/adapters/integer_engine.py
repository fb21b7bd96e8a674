"""An exact engine that looks at eight bits of each number first, which is a quarter of the memory to read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Batch, Found, hide, scan
from service.adapters.onnx_graph import PRODUCTS, QUERIES, ROWS, integer_product
from service.adapters.onnx_session import open_made
from service.adapters.ranking import norms_of
from service.adapters.selection import Selection, lowest, padded
from service.domain import Matrix

_BLOCK = 1 << 16  # rows of one product
_CHUNK = 1 << 12  # rows in double precision at once
_ROW_STEPS = 127  # what is rounded to int8 lies in -127…127
_QUERY_STEPS = 63  # and the query in -63…63, which is 1…127 above its zero point
_ZERO_POINT = 64
_MOST_NUMBERS = 1 << 17  # of a vector, whose product with another 32 bits hold
_UNSETTLED = 16  # where one row of so many, and so many for each wanted, may be among the best, all are looked at
_SMALLEST = 1e-200  # unit; far below what products of float32 with scales can be, but for 0
_ROUNDING = 1e-10  # relative; what sums in double precision add to the bound, generously


@dataclass(frozen=True, slots=True)
class _Queries:
    """Queries in whole numbers.

    Attributes:
        steps: (b, d) uint8, around the zero point.
        slack: (b,) by how much a product of whole numbers may be off, in its own unit.
    """

    steps: NDArray[np.uint8]
    slack: NDArray[np.float64]


class IntegerEngine:
    """Exact: proposes all rows that can be among the best for all that eight bits can tell.

    Each column of the matrix has a scale ``s``, so that ``w = v / s`` lies within ±127, and ``v·q = w·q'`` with
    ``q' = s∘q``: the scales go into the query, and one unit holds for the scores of all rows. With ``w = ŵ + ε`` and
    ``q' = t·q̂ + f``, where ``ŵ`` and ``q̂`` are whole numbers,

        ``v·q = t·(ŵ·q̂) + ŵ·f + ε·q'``,  so that  ``|v·q - t·(ŵ·q̂)| ≤ ‖ŵ‖·‖f‖ + ‖ε‖·‖q'‖``

    by Cauchy and Schwarz; the largest ``‖ŵ‖`` and ``‖ε‖`` of the rows are known, ``f`` and ``q'`` are those of the very
    query. A row whose product is further below the k-th best than twice that cannot be among the best.

    Processors without instructions for such products add two of them in 16 bits, and what does not fit is cut off:
    seven bits for the query make 2·127·127 = 32,258 the most there can be, which fits.

    Args:
        matrix: (n, d) float32; a copy of n·d bytes is made.
        threads: threads inside one search.
    """

    def __init__(self, matrix: Matrix, *, threads: int = 1) -> None:
        self._matrix = matrix
        self._threads = threads
        self._scales = _scales(matrix)
        self._longest = self._most_off = 0.0  # ‖ŵ‖ and ‖ε‖
        usable = matrix.shape[1] <= _MOST_NUMBERS and bool(np.isfinite(self._scales).all())
        self._blocks = [self._block(start) for start in range(0, len(matrix), _BLOCK)] if usable else []

    def find(self, batch: Batch) -> Found:
        """The rows among which the exact best of every query are."""
        if not self._blocks or not np.isfinite(batch.norms).all():
            return scan(self._matrix, batch)
        queries = self._rounded(batch)
        selection = Selection(batch.k, queries.slack, np.int32)
        for number, block in enumerate(self._blocks):
            (products,) = block.run([PRODUCTS], {QUERIES: queries.steps})
            start = number * _BLOCK
            products[:, len(self._matrix) - start :] = lowest(products.dtype)  # what fills the last group
            hide(products, start, batch)
            selection.take(products, start)
        found = Found(*selection.found())
        most = len(batch.queries) * (len(self._matrix) // _UNSETTLED + _UNSETTLED * batch.k)
        return found if len(found.rows) <= most else scan(self._matrix, batch)

    def _block(self, start: int) -> Any:
        """What multiplies the rows from ``start`` on; makes the bounds hold for them as well."""
        rows = self._matrix[start : start + _BLOCK]
        columns = np.zeros((rows.shape[1], padded(len(rows))), dtype=np.int8)
        for first in range(0, len(rows), _CHUNK):
            exact = rows[first : first + _CHUNK] / self._scales
            rounded = np.rint(exact)
            self._longest = max(self._longest, float(norms_of(rounded).max()))
            self._most_off = max(self._most_off, float(norms_of(exact - rounded).max()))
            columns[:, first : first + len(rounded)] = rounded.T
        model = integer_product(columns.shape[1], columns.shape[0], _ZERO_POINT)
        return open_made(model, {ROWS: columns}, self._threads)

    def _rounded(self, batch: Batch) -> _Queries:
        scaled = batch.queries * self._scales
        unit = np.maximum(np.abs(scaled).max(axis=1) / _QUERY_STEPS, _SMALLEST)
        steps = np.rint(scaled / unit[:, None])
        off = norms_of(scaled - steps * unit[:, None]) * self._longest
        off += norms_of(scaled) * (self._most_off + _ROUNDING * (self._longest + self._most_off))
        return _Queries((steps + _ZERO_POINT).astype(np.uint8), 2 * (1 + _ROUNDING) * off / unit)


def _scales(matrix: Matrix) -> NDArray[np.float64]:
    """Of the columns, (d,); 1 for those of nothing but zeros."""
    if not len(matrix):
        return np.ones(matrix.shape[1])
    most = np.maximum(matrix.max(axis=0), -matrix.min(axis=0)).astype(np.float64) / _ROW_STEPS
    return np.where(most == 0, 1.0, most)
