"""From rows that some index proposes to what an engine may answer: nothing hidden, nothing twice, never too few.

An index that may miss rows answers to ``ApproximateEngine``, which looks at all rows itself where the index gives too
few. One that looks at all rows, but rounds, answers to ``certain``, which tells what its rounding leaves open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Batch, Found, Numbers
from service.adapters.segments import Engine
from service.domain import Matrix

LENGTHS = (32, 128, 512)
"""Of lists up to so long each, what is excluded counted in, recall is measured; longer ones are searched exactly."""
_MOST_HIDDEN = 4  # where one of so many rows is hidden or more, likewise: recall is measured without
_MANY = 256  # where one of so many rows is taken, it is quicker to go through all of them

Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shown:
    """Which of n rows may be found.

    Attributes:
        n: how many rows there are.
        bits: one a row, the lowest of a byte first; None = all may be found.
    """

    n: int
    bits: Bits | None = None

    @classmethod
    def but(cls, n: int, hidden: Numbers) -> "Shown":
        """All but these."""
        if not hidden.size:
            return cls(n)
        if hidden.size * _MANY > n:
            left = np.ones(n, dtype=bool)
            left[hidden] = False
            return cls(n, np.packbits(left, bitorder="little"))
        bits = np.full((n + 7) // 8, 255, dtype=np.uint8)
        np.bitwise_and.at(bits, hidden >> 3, ~np.left_shift(1, hidden & 7).astype(np.uint8))
        return cls(n, bits)

    def has(self, rows: Numbers) -> NDArray[np.bool_]:
        """Whether each is a row that may be found; what is no row at all may not."""
        sound: NDArray[np.bool_] = (rows >= 0) & (rows < self.n)
        if self.bits is not None:
            inside = np.where(sound, rows, 0)
            sound &= (self.bits[inside >> 3] >> (inside & 7).astype(np.uint8)) & 1 == 1
        return sound


class Left:
    """Which of n rows may be found, at hand as long as the same ones are hidden: the very array, as views keep it."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._last: tuple[Numbers, Shown] | None = None

    def but(self, hidden: Numbers) -> Shown:
        """All but these."""
        last = self._last
        if last is None or last[0] is not hidden:
            self._last = last = (hidden, Shown.but(self._n, hidden))
        return last[1]


class Proposer(Protocol):
    """An index that proposes rows which may be among the best. Thread-safe.

    Attributes:
        efforts: how much it may be made to look at, ascending.
    """

    @property
    def efforts(self) -> tuple[int, ...]: ...  # noqa: D102 - told above

    def propose(self, queries: Matrix, k: int, effort: int, shown: Shown) -> Numbers:
        """Rows (b, k or more) for each query; -1, or anything that is no row, where there are no more."""
        ...


class ApproximateEngine:
    """Answers with what an index proposes, which may miss some of the best; hidden and excluded rows never come.

    Args:
        matrix: (n, d) float32.
        proposer: an index of its rows.
        exact: searches where the index does not do.
        efforts: one of the proposer's for each of ``LENGTHS``, or only for the first ones: longer lists are exact.
    """

    def __init__(self, matrix: Matrix, proposer: Proposer, exact: Engine, efforts: Sequence[int]) -> None:
        self._n = len(matrix)
        self._proposer = proposer
        self._exact = exact
        self._efforts = tuple(zip(LENGTHS, efforts, strict=False))
        self._left = Left(len(matrix))

    def find(self, batch: Batch) -> Found:
        """At least k rows for every query, but where there are fewer."""
        if batch.hidden.size * _MOST_HIDDEN >= self._n:
            return self._exact.find(batch)
        b = len(batch.queries)
        pairs = self._propose(batch)
        enough = np.bincount(pairs % b, minlength=b) >= batch.k
        pairs = pairs[enough[pairs % b]]
        found = [Found(pairs % b, pairs // b)]
        if not enough.all():
            found.append(find_part(self._exact, batch, np.flatnonzero(~enough)))
        return joined(found)

    def _propose(self, batch: Batch) -> Numbers:
        """Different pairs of a row and a query (its number in the batch), as ``row · b + query``.

        What a query excludes are the best for it, as a rule: so it must find so many more, and takes the effort for it.
        """
        b = len(batch.queries)
        lengths = batch.k + np.bincount(batch.excluded_by, minlength=b)
        shown, shorter, pairs = self._left.but(batch.hidden), 0, []
        for length, effort in self._efforts:
            queries = np.flatnonzero((shorter < lengths) & (lengths <= length))
            shorter = length
            if queries.size:
                most = int(lengths[queries].max())
                rows = self._proposer.propose(batch.queries[queries], most, effort, shown)
                pairs.append((rows * b + queries[:, None])[shown.has(rows)])
        if not pairs:
            return np.empty(0, dtype=np.int64)
        different: Numbers = np.setdiff1d(np.concatenate(pairs), batch.excluded * b + batch.excluded_by)
        return different


def certain(
    batch: Batch, scores: NDArray[np.float32], rows: Numbers, shown: Shown, slack: NDArray[np.float64]
) -> tuple[Found, Numbers]:
    """What of the rows with the best rounded scores may be among the exact best.

    Args:
        batch: what was asked.
        scores: (b, m) rounded.
        rows: (b, m), those of the m best scores among the shown.
        shown: rows that were not hidden.
        slack: (b,) by how much a rounded score may be off.

    Returns:
        The rows of the queries for which it can be told, and the numbers of the others.
    """
    sound = shown.has(rows)
    excluded = np.isin(rows * len(rows) + np.arange(len(rows))[:, None], batch.excluded * len(rows) + batch.excluded_by)
    kept = np.where(sound & ~excluded, scores, -np.inf)
    if kept.shape[1] < batch.k:
        return joined([]), np.arange(len(rows))
    least = -np.partition(-kept, batch.k - 1, axis=1)[:, batch.k - 1] - 2 * slack
    # What was not given scores no more than the last that was.
    settled = sound.all(axis=1) & np.isfinite(least) & (scores.min(axis=1) < least)
    numbers, places = np.nonzero((kept >= least[:, None]) & settled[:, None])
    return Found(numbers, rows[numbers, places]), np.flatnonzero(~settled)


def part(batch: Batch, numbers: Numbers) -> Batch:
    """Some queries of a batch, by ascending number, as a batch of their own."""
    mine = np.isin(batch.excluded_by, numbers)
    return replace(
        batch,
        queries=batch.queries[numbers],
        norms=batch.norms[numbers],
        excluded=batch.excluded[mine],
        excluded_by=np.searchsorted(numbers, batch.excluded_by[mine]),
    )


def find_part(engine: Engine, batch: Batch, numbers: Numbers) -> Found:
    """What an engine finds for some queries of a batch."""
    found = engine.find(part(batch, numbers))
    return Found(numbers[found.queries], found.rows)


def joined(found: list[Found]) -> Found:
    """Several finds as one."""
    none = np.empty(0, dtype=np.int64)
    return Found(
        np.concatenate([none, *(each.queries for each in found)]),
        np.concatenate([none, *(each.rows for each in found)]),
    )
