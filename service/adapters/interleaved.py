"""Rows of whole numbers that C looks at: for candidates, or for whole searches in one call."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from service.adapters import kernels
from service.adapters.kernels import QUAD, Numbers, Rounding

if TYPE_CHECKING:
    from service.domain import Matrix

LANES = 16
"""Rows that are interleaved."""
TILE = 64
"""Rows are looked at by so many."""
MOST_THREADS = 64
_MIDDLE = 128  # what stands for 0 in a row
_BYTES_OF_ONE = 1 << 22  # that pay for a thread


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for.

    Attributes:
        queries: (b, d) int8, within -63…63; d may be filled up with zeros to whole quads.
        k: how many rows each query wants.
        slack: (b,) float64, how far below the k-th best a score may be that belongs among the best all the same.
        most: what of one query's rows may be among the best, at most; if it is more, nothing is said of them.
        shown: a bit for each row, the lowest of a byte first; None = all may be found.
        excluded: rows that single queries may not find, ascending ...
        excluded_by: ... and the number of that query, for each.
    """

    queries: NDArray[np.int8]
    k: int
    slack: NDArray[np.float64]
    most: int
    shown: NDArray[np.uint8] | None
    excluded: Numbers
    excluded_by: Numbers


@dataclass(frozen=True, slots=True)
class Segments:
    """What whole searches look at, beside the rows in whole numbers; all in C order.

    Attributes:
        matrix: (n, d) float32, the main segment's rows as they are.
        shown: a bit for each of them, the lowest of a byte first.
        slots: (n,) int64 of them; None = the rows are the slots.
        row_of: (slots,) int64 the row of each slot, -1 = it has none; None likewise.
        later: (m, d) float32, rows of the delta.
        later_slots: (m,) int64 theirs.
        later_dead: those of them that are gone, ascending.
        later_longest: the largest Euclidean norm of one of them.
    """

    matrix: "Matrix"
    shown: NDArray[np.uint8] | None
    slots: Numbers | None
    row_of: Numbers | None
    later: "Matrix"
    later_slots: Numbers
    later_dead: Numbers
    later_longest: float


Sought = tuple[NDArray[np.float32], Numbers]
"""A query (d,), and slots that it may not find."""


class Interleaved:
    """Rows of whole numbers, -127…127, as the kernel reads them: four numbers of each of sixteen rows, in turn.

    Args:
        n: rows, less than 2³².
        d: numbers in a row; 2¹⁷ at most, whose products with queries 32 bits hold.
        kind: one of ``KINDS``.
        threads: that look at the rows, where there are enough of them.
    """

    def __init__(self, n: int, d: int, *, kind: str, threads: int = 1) -> None:
        self._n, self._d, self._kind = n, d, kind
        self._quads = -(-d // QUAD)
        self._threads = max(1, min(threads, MOST_THREADS, n * d // _BYTES_OF_ONE))
        vectors = -(-n // TILE) * (TILE // LANES)
        self._rows = np.full((vectors, self._quads, LANES, QUAD), _MIDDLE, dtype=np.uint8)

    def put(self, start: int, rows: NDArray[np.int8]) -> None:
        """Takes in the rows from ``start`` on, which is a multiple of ``LANES``."""
        filled = np.full((-(-len(rows) // LANES) * LANES, self._quads * QUAD), _MIDDLE, dtype=np.uint8)
        filled[: len(rows), : self._d] = rows.view(np.uint8) ^ _MIDDLE
        first, vectors = start // LANES, len(filled) // LANES
        parts = filled.reshape(vectors, LANES, self._quads, QUAD)
        self._rows[first : first + vectors] = parts.transpose(0, 2, 1, 3)

    def round(self, start: int, rows: "Matrix", scales: NDArray[np.float64]) -> tuple[float, float]:
        """Takes in rows from ``start`` on, which is a multiple of ``LANES``, divided by scales and rounded.

        Args:
            start: the first one's number.
            rows: (n, d) float32, in C order.
            scales: (d,) of the columns, so that no number of a row is beyond 127.

        Returns:
            The largest Euclidean norm of a row in whole numbers, and of what rounding leaves of one.
        """
        return kernels.native.round_rows(rows, scales, self._rows, start)

    def find(self, asked: Asked) -> tuple[Numbers, Numbers]:
        """Looks at all rows.

        Returns:
            How many rows each query has found, (b,), -1 = too many; and the rows, query by query.
        """
        queries, d = asked.queries, self._quads * QUAD
        if queries.shape[1] < d:
            queries = np.pad(queries, ((0, 0), (0, d - queries.shape[1])))
        counts, rows = kernels.native.scan(
            self._kind,
            self._rows,
            self._n,
            self._quads,
            np.ascontiguousarray(queries),
            asked.slack,
            asked.k,
            asked.most,
            asked.shown,
            np.ascontiguousarray(asked.excluded),
            np.ascontiguousarray(asked.excluded_by),
            self._threads,
        )
        return np.frombuffer(counts, dtype=np.int64), np.frombuffer(rows, dtype=np.int64)

    def search(
        self, segments: Segments, rounding: Rounding, sought: list[Sought], k: int, most: int
    ) -> tuple[list[int], NDArray[np.int32], NDArray[np.float64], list[int]]:
        """Carries out whole searches.

        Args:
            segments: their rows are these ones.
            rounding: likewise.
            sought: what is asked.
            k: at least 1.
            most: what of one query's rows may be among the best for all that whole numbers tell, at most.

        Returns:
            How many each query has found, -1 = nothing can be told; the slots and exact scores of all, query by query
            and best first, k for each and what equals the last of them; and places whose score the next one has too.
        """
        counts, slots, scores, equal = kernels.native.whole(
            self._kind,
            self._threads,
            self._rows,
            segments.matrix,
            rounding.scales,
            rounding.longest,
            rounding.most_off,
            rounding.rounding,
            segments.shown,
            segments.slots,
            segments.row_of,
            segments.later,
            segments.later_slots,
            segments.later_dead,
            segments.later_longest,
            k,
            most,
            sought,
        )
        return (
            memoryview(counts).cast("q").tolist(),
            np.frombuffer(slots, dtype=np.int32),
            np.frombuffer(scores, dtype=np.float64),
            equal,
        )
