"""An exact engine that looks at eight bits of each number first, which is a quarter of the memory to read."""

from typing import Any, Protocol

import numpy as np

from service.adapters import kernels
from service.adapters.candidates import Left, find_part, joined
from service.adapters.exact_scan import Batch, Found, Numbers, hide, scan
from service.adapters.integer_rows import CHUNK, IntegerRows, Queries
from service.adapters.interleaved import Asked, Interleaved
from service.adapters.onnx_graph import PRODUCTS, QUERIES, ROWS, integer_product
from service.adapters.onnx_session import open_made
from service.adapters.segments import NONE, ExactEngine, Whole
from service.adapters.selection import Selection, lowest, padded
from service.adapters.whole_search import WholeSearch, most_told
from service.domain import Matrix

_BLOCK = 16 * CHUNK  # rows of one product
_ZERO_POINT = 64  # what stands for 0 in a query of ONNX Runtime's, which has no signs


class Pass(Protocol):
    """Looks at all rows once."""

    def find(self, queries: Queries, batch: Batch) -> tuple[Found, Numbers]:
        """Rows that may be among the best, and the numbers of the queries for which they are too many to be told."""
        ...


class IntegerEngine:
    """Exact: proposes all rows that can be among the best for all that eight bits can tell (``IntegerRows``).

    Args:
        matrix: (n, d) float32; a copy of n·d bytes is made.
        threads: threads inside one search.
        kind: of the kernel that looks at the rows; None = ONNX Runtime and numpy do.
    """

    def __init__(self, matrix: Matrix, *, threads: int = 1, kind: str | None = next(iter(kernels.KINDS), None)) -> None:
        self._matrix = matrix
        self._rows = IntegerRows(matrix)
        self._pass: Pass | None = None
        self.whole: Whole | None = None
        if self._rows.usable:
            shape = matrix.shape
            self._pass = KernelPass(self._rows, shape, kind, threads) if kind else OnnxPass(self._rows, shape, threads)
            if isinstance(self._pass, KernelPass) and kernels.take(matrix):
                self.whole = WholeSearch(matrix, self._rows.rounding, self._pass.rows, self._pass.left)

    def find(self, batch: Batch) -> Found:
        """The rows among which the exact best of every query are."""
        if not self._pass or not np.isfinite(batch.norms).all():
            return scan(self._matrix, batch)
        found, unsettled = self._pass.find(self._rows.rounded(batch), batch)
        if not unsettled.size:
            return found
        return joined([found, find_part(ExactEngine(self._matrix), batch, unsettled)])


class KernelPass:
    """One call looks at all rows, and keeps what may be among the best.

    Attributes:
        rows: those in whole numbers.
        left: which of them may be found.
    """

    def __init__(self, rows: IntegerRows, shape: tuple[int, ...], kind: str, threads: int) -> None:
        self._n = shape[0]
        self.rows = Interleaved(*shape, kind=kind, threads=threads)
        self.left = Left(shape[0])
        rows.put_into(self.rows)

    def find(self, queries: Queries, batch: Batch) -> tuple[Found, Numbers]:
        """Of those queries for which it can be told."""
        shown = self.left.but(batch.hidden).bits
        asked = Asked(
            queries.steps, batch.k, queries.slack, most_told(self._n, batch.k), shown, batch.excluded, batch.excluded_by
        )
        counts, rows = self.rows.find(asked)
        numbers = np.arange(len(counts)).repeat(np.maximum(counts, 0))
        return Found(numbers, rows), (counts < 0).nonzero()[0]


class OnnxPass:
    """ONNX Runtime multiplies, block by block, and numpy selects."""

    def __init__(self, rows: IntegerRows, shape: tuple[int, ...], threads: int) -> None:
        self._n, self._d = shape
        self._threads = threads
        self._blocks = []
        columns = np.empty((0, 0), dtype=np.int8)
        for start, chunk in rows.chunks():
            place = start % _BLOCK
            if not place:
                columns = np.zeros((self._d, padded(min(_BLOCK, self._n - start))), dtype=np.int8)
            columns[:, place : place + len(chunk)] = chunk.T
            if place + len(chunk) == min(_BLOCK, self._n - start + place):
                self._blocks.append(self._opened(columns))

    def find(self, queries: Queries, batch: Batch) -> tuple[Found, Numbers]:
        """Of all queries or none."""
        selection = Selection(batch.k, queries.slack, np.int32)
        steps = (queries.steps[:, : self._d] + _ZERO_POINT).astype(np.uint8)
        for number, block in enumerate(self._blocks):
            (products,) = block.run([PRODUCTS], {QUERIES: steps})
            start = number * _BLOCK
            products[:, self._n - start :] = lowest(products.dtype)  # what fills the last group
            hide(products, start, batch)
            selection.take(products, start)
        found = Found(*selection.found())
        most = len(batch.queries) * most_told(self._n, batch.k)
        return (found, NONE) if len(found.rows) <= most else (joined([]), np.arange(len(batch.queries)))

    def _opened(self, columns: Any) -> Any:
        model = integer_product(columns.shape[1], self._d, _ZERO_POINT)
        return open_made(model, {ROWS: columns}, self._threads)
