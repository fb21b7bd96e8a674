"""Which rows may be among the best of each query, told from a matrix of scores in few passes over it.

The k best scores of all lie in the k groups of rows with the largest maxima. So one pass finds the maxima of groups,
the k-th largest of which is reached by k rows at least, and only groups that reach it are looked into. Few passes are
also few times that a thread has to wait for Python's lock: each large operation of numpy gives it away and takes it
again.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Scores = NDArray[Any]  # float32, float64 or int32

GROUP = 16  # rows whose largest score stands for all of them
_MOST_WAITING = 1 << 17  # pairs after which those that no longer reach the bound are let go

# The least bounds, which all scores reach but the lowest: half of the largest numbers, so that there is one below.
_LEAST = {
    np.dtype(np.int32): int(np.iinfo(np.int32).min) + 1,
    np.dtype(np.float32): float(np.finfo(np.float32).min) / 2,
    np.dtype(np.float64): float(np.finfo(np.float64).min) / 2,
}


def padded(n: int) -> int:
    """The number of rows of scores that hold n and are made of whole groups."""
    return -(-n // GROUP) * GROUP


def lowest(dtype: np.dtype[Any]) -> float:
    """The score of what is not to be found."""
    return _LEAST[dtype] - 1 if dtype.kind == "i" else -np.inf


class Selection:
    """Collects what may be among the best of each query from one block of scores after another.

    Args:
        k: how many rows each query wants.
        slack: (b,) float64; how far below the k-th best score a row may be that belongs among the best all the same.
        dtype: of the scores.
    """

    def __init__(self, k: int, slack: NDArray[np.float64], dtype: Any) -> None:
        self._k = k
        self._slack = slack
        self._dtype = np.dtype(dtype)
        self._least = _LEAST[self._dtype]
        self._bound: Scores = np.full((len(slack), 1), self._least, dtype=dtype)
        self._best: Scores | None = None  # (b, up to k) scores that different rows reach
        self._found: list[tuple[Numbers, Numbers, Scores]] = []
        self._waiting = 0

    def take(self, scores: Scores, start: int) -> None:
        """Takes the scores (b, n) of the rows from ``start`` on.

        Args:
            scores: n is made of whole groups; what is hidden, and what fills the last group, has the ``lowest`` score.
                Any order in memory: a transposed array is as quick.
            start: the number of the first row.
        """
        b, n = scores.shape
        size = GROUP if n >= 2 * GROUP * self._k else 1
        # Group g has the rows g, g + n // size, ...: those passes are quick.
        groups = scores.reshape(b, size, n // size)
        maxima = np.ascontiguousarray(groups.max(axis=1) if size > 1 else scores)
        self._raise(maxima)
        queries, reaching = np.divmod((maxima >= self._bound).ravel().nonzero()[0], n // size)
        members = groups[queries, :, reaching]
        places = (members >= self._bound[queries]).ravel().nonzero()[0]
        which, member = np.divmod(places, size)
        rows = member * (n // size) + reaching[which] + start
        self._found.append((queries[which], rows, members.reshape(-1)[places]))
        self._waiting += len(rows)
        if self._waiting > _MOST_WAITING:
            self._let_go()

    def found(self) -> tuple[Numbers, Numbers]:
        """Pairs of a query and a row, among which are all the best of every query, after all blocks."""
        if len(self._found) != 1:
            self._let_go()
        queries, rows, _ = self._found[0]
        return queries, rows

    def _let_go(self) -> None:
        """Of what reaches the bound no longer, as it has risen meanwhile."""
        if not self._found:
            none = np.empty(0, dtype=np.int64)
            self._found = [(none, none, none)]
            return
        queries, rows, scores = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        kept = np.flatnonzero(scores >= self._bound[queries, 0])
        self._found = [(queries[kept], rows[kept], scores[kept])]
        self._waiting = 0

    def _raise(self, maxima: Scores) -> None:
        """Raises the bound to what k rows reach, less the slack."""
        best = maxima if self._best is None else np.concatenate([self._best, maxima], axis=1)
        if best.shape[1] >= self._k:
            best = np.partition(best, -self._k, axis=1)[:, -self._k :]
            self._bound = np.maximum(self._bound, self._lowered(best[:, :1]))
        self._best = best if best is not maxima else maxima.copy()  # the caller may use the same memory again

    def _lowered(self, kth: Scores) -> Scores:
        """At most the score less the slack, whatever is rounded."""
        low = np.fmax(kth.astype(np.float64) - self._slack[:, None], float(self._least))
        if self._dtype.kind == "i":
            return np.floor(low).astype(self._dtype)
        lowered: Scores = np.nextafter(low.astype(self._dtype), self._dtype.type(-np.inf))
        return lowered
