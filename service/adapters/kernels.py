"""The loops of a search that are written in C, for processors that have what they need.

They do what numpy and ONNX Runtime do in many passes, whose results are written to memory and read again each time.
Where they were not compiled, or the processor has not got the instructions, ``KINDS`` is empty, and those do it. They
were written for x86-64; what they would be elsewhere could not be measured.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

try:
    from service.adapters import _kernels
except ImportError:
    KINDS: tuple[str, ...] = ()
else:
    KINDS, native = tuple(_kernels.kinds()), _kernels

if TYPE_CHECKING:
    from service.domain import Matrix

QUAD = 4
"""Numbers that are added up at once."""

Numbers = NDArray[np.int64]


def take(numbers: NDArray[Any]) -> bool:
    """Whether there are loops here, and they can look at these numbers: float32 in C order."""
    return bool(KINDS) and numbers.flags.c_contiguous and numbers.dtype == np.float32


@dataclass(frozen=True, slots=True)
class Rounding:
    """How rows were rounded, and queries are to be (``IntegerRows``).

    Attributes:
        scales: (d,) of the columns.
        longest: the largest Euclidean norm of a row in whole numbers.
        most_off: the largest of what rounding left of a row.
        rounding: relative; what sums in double precision add.
    """

    scales: NDArray[np.float64]
    longest: float
    most_off: float
    rounding: float


def reaching(matrix: "Matrix", query: NDArray[np.float32], bound: float) -> Numbers:
    """Rows of (n, d) float32 whose product with (d,) is at least the bound, or no number; summed in any order.

    Args:
        matrix: in C order.
        query: in C order.
        bound: for the product in single precision.
    """
    found: Numbers = np.frombuffer(native.reaching(matrix, query, bound), dtype=np.int64)
    return found


def standing(
    slots: bytes,
    scores: bytes,
    changed_at: Numbers,
    written: "Matrix",
    query: NDArray[np.float32],
    since: int,
    now: int,
    longest: float,
) -> tuple[bytes, bytes]:
    """The leading places of a list that are right in spite of what was written since: their slots and their scores.

    Args:
        slots: (n,) int32, best first.
        scores: (n,) float64.
        changed_at: when each slot was changed for the last time; slots beyond never were.
        written: (m, d) float32, in C order, the rows that were written in between.
        query: (d,) float32, in C order.
        since: when the list was right.
        now: up to when changes are known; a place that was changed later, and all after it, are not told.
        longest: the largest Euclidean norm of a row that was written.
    """
    return native.standing(slots, scores, changed_at, written, query, since, now, longest)


def score(kind: str, matrix: "Matrix", queries: "Matrix", rows: Numbers, numbers: Numbers) -> NDArray[np.float64]:
    """Inner products of pairs in double precision, (pairs,), added up in numpy's order.

    Args:
        kind: one of ``KINDS``.
        matrix: (n, d) float32, in C order.
        queries: (b, d) float32, in C order.
        rows: (pairs,) of the matrix.
        numbers: (pairs,) which query goes with each row.
    """
    pairs = np.ascontiguousarray(rows), np.ascontiguousarray(numbers)
    found: NDArray[Any] = np.frombuffer(native.score(kind, matrix.shape[1], matrix, queries, *pairs), dtype=np.float64)
    return found


def rounded(queries: "Matrix", rounding: Rounding) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Queries in whole numbers, -63…63, and their slack, as ``IntegerRows`` says.

    Args:
        queries: (b, d) float32, in C order, finite.
        rounding: of the rows.

    Returns:
        (b, d) int8, d filled up with zeros to whole quads, and (b,).
    """
    scales = rounding.scales
    steps, slack = native.rounded(queries, scales, rounding.longest, rounding.most_off, rounding.rounding)
    filled = -(-len(scales) // QUAD) * QUAD
    return np.frombuffer(steps, dtype=np.int8).reshape(-1, filled), np.frombuffer(slack, dtype=np.float64)


def order(numbers: Numbers, scores: NDArray[np.float64], k: int) -> Numbers:
    """Places of what is among the k best of each query, best first, and of what equals the last of these.

    Args:
        numbers: (pairs,) of the queries, ascending.
        scores: (pairs,), none of which is no number.
        k: at least 1.
    """
    pairs = np.ascontiguousarray(numbers), np.ascontiguousarray(scores)
    found: Numbers = np.frombuffer(native.order(*pairs, k), dtype=np.int64)
    return found
