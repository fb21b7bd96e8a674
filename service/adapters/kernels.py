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
