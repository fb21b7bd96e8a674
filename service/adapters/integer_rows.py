"""Vectors in whole numbers, and by how much their products may be off."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.adapters import kernels
from service.adapters.exact_scan import Batch
from service.adapters.interleaved import Interleaved
from service.adapters.kernels import Rounding
from service.adapters.ranking import norms_of
from service.domain import Matrix, Vector

CHUNK = 1 << 12
"""Rows in double precision at once."""
_ABREAST = 32  # rows
_PIECE = 1 << 16  # rows that are rounded in one call; a multiple of LANES
_ROW_STEPS = 127  # what is rounded lies in -127…127
_QUERY_STEPS = 63  # and the query in -63…63
_MOST_NUMBERS = 1 << 17  # of a vector, whose product with another 32 bits hold
_SMALLEST = 1e-200  # unit; far below what products of float32 with scales can be, but for 0
_ROUNDING = 1e-10  # relative; what sums in double precision add to the bound, generously


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries in whole numbers.

    Attributes:
        steps: (b, d) int8; d may be filled up with zeros to a multiple of four.
        slack: (b,) how far below the k-th best product one may be that belongs to one of the best, in its own unit.
    """

    steps: NDArray[np.int8]
    slack: NDArray[np.float64]


class IntegerRows:
    """Rounds the rows of a matrix, and queries to go with them.

    Each column of the matrix has a scale ``s``, so that ``w = v / s`` lies within ±127, and ``v·q = w·q'`` with
    ``q' = s∘q``: the scales go into the query, and one unit holds for the scores of all rows. With ``w = ŵ + ε`` and
    ``q' = t·q̂ + f``, where ``ŵ`` and ``q̂`` are whole numbers,

        ``v·q = t·(ŵ·q̂) + ŵ·f + ε·q'``,  so that  ``|v·q - t·(ŵ·q̂)| ≤ ‖ŵ‖·‖f‖ + ‖ε‖·‖q'‖``

    by Cauchy and Schwarz; the largest ``‖ŵ‖`` and ``‖ε‖`` of the rows are known, ``f`` and ``q'`` are those of the very
    query. A row whose product is further below the k-th best than twice that cannot be among the best.

    Processors without instructions for such products add two of them in 16 bits, and what does not fit is cut off:
    seven bits for the query make 2·127·127 = 32,258 the most there can be (2·255·63 where rows have no signs).

    Args:
        matrix: (n, d) float32.

    Attributes:
        usable: whether it can be rounded; else nothing may be asked of it.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._scales = _scales(matrix)
        self._longest = self._most_off = 0.0  # ‖ŵ‖ and ‖ε‖
        self.usable = len(matrix) > 0 and matrix.shape[1] <= _MOST_NUMBERS and bool(np.isfinite(self._scales).all())

    def chunks(self) -> Iterator[tuple[int, NDArray[np.int8]]]:
        """The rows in whole numbers, ``CHUNK`` at a time, with the number of the first.

        The bounds of ``rounded`` hold once all chunks were taken.
        """
        for start in range(0, len(self._matrix), CHUNK):
            exact = self._matrix[start : start + CHUNK] / self._scales
            whole = np.rint(exact)
            self._longest = max(self._longest, float(norms_of(whole).max()))
            self._most_off = max(self._most_off, float(norms_of(exact - whole).max()))
            yield start, whole.astype(np.int8)

    def put_into(self, interleaved: Interleaved) -> None:
        """Gives the rows to what looks at them; the bounds of ``rounded`` hold from then on."""
        if not kernels.take(self._matrix):
            for start, chunk in self.chunks():
                interleaved.put(start, chunk)
            return
        for start in range(0, len(self._matrix), _PIECE):
            longest, most_off = interleaved.round(start, self._matrix[start : start + _PIECE], self._scales)
            self._longest, self._most_off = max(self._longest, longest), max(self._most_off, most_off)

    @property
    def rounding(self) -> Rounding:
        """What was found; as it is once all chunks were taken."""
        return Rounding(self._scales, self._longest, self._most_off, _ROUNDING)

    def rounded(self, batch: Batch) -> Queries:
        """The queries of a batch."""
        if kernels.take(batch.queries):
            return Queries(*kernels.rounded(batch.queries, self.rounding))
        scaled = batch.queries * self._scales
        unit = np.maximum(np.abs(scaled).max(axis=1) / _QUERY_STEPS, _SMALLEST)
        steps = np.rint(scaled / unit[:, None])
        off = norms_of(scaled - steps * unit[:, None]) * self._longest
        off += norms_of(scaled) * (self._most_off + _ROUNDING * (self._longest + self._most_off))
        return Queries(steps.astype(np.int8), 2 * (1 + _ROUNDING) * off / unit)


def _scales(matrix: Matrix) -> NDArray[np.float64]:
    """Of the columns, (d,); 1 for those of nothing but zeros."""
    if not len(matrix):
        return np.ones(matrix.shape[1])
    most = np.maximum(_reduced(np.maximum, matrix), -_reduced(np.minimum, matrix)).astype(np.float64) / _ROW_STEPS
    return np.where(most == 0, 1.0, most)


def _reduced(ufunc: np.ufunc, matrix: Matrix) -> Vector:
    """What ``ufunc.reduce`` makes of the rows, (d,); many of them side by side, which takes a sixth of the time."""
    n, d = matrix.shape
    whole = n - n % _ABREAST if matrix.flags.c_contiguous else 0
    if whole:
        abreast = ufunc.reduce(matrix[:whole].reshape(-1, _ABREAST * d)).reshape(_ABREAST, d)
        matrix = np.concatenate([abreast, matrix[whole:]])
    found: Vector = ufunc.reduce(matrix)
    return found
