"""What was written to an index of late: what was found before is brought up to date by it.

Segments come and go, and rows with them; slots stay. So this outlives foldings: a list that was found may be made up
for as long as what was written since is at hand.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Numbers
from service.adapters.ranking import longest_row
from service.domain import Matrix
from service.queries import Mark

KEPT = 4096
"""Written rows that are at hand, at least; of single precision, with their slots."""


class Moment(NamedTuple):
    """The changes up to a moment. What it refers to may have been changed since, which can be told.

    Attributes:
        total: how many slots were written or lost up to then, one after the other.
        rows: how many rows were written.
        first: the number of the first row that is at hand.
        vectors: those at hand, (n, d).
        slots: theirs.
        counts: how many changes there were when each was written.
        changed_at: slot → ``total`` right after its last change, also after this moment; 0 = it was never changed.
        longest: no row at hand has a larger Euclidean norm.
    """

    total: int
    rows: int
    first: int
    vectors: Matrix
    slots: Numbers
    counts: Numbers
    changed_at: Numbers
    longest: float

    @property
    def mark(self) -> Mark:
        """The moment."""
        return Mark(self.rows, self.total)

    def last_changes(self, slots: NDArray[np.integer[Any]]) -> Numbers:
        """When each slot was changed for the last time; more than ``total`` = after this moment, and maybe before."""
        known = len(self.changed_at)
        if slots.size and int(slots.max()) >= known:
            return np.where(slots < known, self.changed_at[np.minimum(slots, known - 1)], 0)
        found: Numbers = self.changed_at[slots]
        return found


class Changes:
    """A log of changes; one writer at a time. Rows are written once, so that readers need not wait.

    Args:
        d: numbers in a row.
        kept: rows at hand, at least.
    """

    def __init__(self, d: int, kept: int = KEPT) -> None:
        self._kept = kept
        self._longest = 0.0
        self._total = self._rows = self._first = 0
        self._changed_at = np.zeros(64, dtype=np.int64)
        self._make_room(np.empty((0, d), dtype=np.float32), np.empty((2, 0), dtype=np.int64), 64)

    @property
    def now(self) -> Moment:
        """This very moment; call it where no writer is."""
        size = self._rows - self._first
        slots, counts = self._places[:, :size]
        return Moment(
            self._total,
            self._rows,
            self._first,
            self._vectors[:size],
            slots,
            counts,
            self._changed_at,
            self._longest,
        )

    def lost(self, slots: Sequence[int]) -> None:
        """Notes that slots have no row any more."""
        self._change(np.array(slots, dtype=np.int64))

    def written(self, slots: Sequence[int], vectors: Matrix) -> None:
        """Notes that slots, all different, have other rows."""
        places = np.array(slots, dtype=np.int64)
        counts = self._change(places)
        self._rows += len(places)
        size = self._rows - self._first
        if size > len(self._vectors):
            self._move(size, len(places))
            size = self._rows - self._first
        self._longest = max(self._longest, longest_row(vectors))
        here = slice(size - len(places), size)
        self._vectors[here] = vectors
        self._places[0, here], self._places[1, here] = places, counts

    def _change(self, slots: Numbers) -> Numbers:
        most = int(slots.max(initial=0)) + 1
        if most > len(self._changed_at):
            changed_at = np.zeros(max(most, 2 * len(self._changed_at)), dtype=np.int64)
            changed_at[: len(self._changed_at)] = self._changed_at
            self._changed_at = changed_at
        counts = np.arange(self._total + 1, self._total + 1 + len(slots))
        self._changed_at[slots] = counts
        self._total += len(slots)
        return counts

    def _move(self, size: int, new: int) -> None:
        """Goes on in other memory, with no more of what was written before than is to be kept."""
        before = size - new
        kept = min(before, max(self._kept - new, 0)) if size > 2 * self._kept else before
        self._first += before - kept
        old = slice(before - kept, before)
        capacity = max(kept + new, min(2 * len(self._vectors), 2 * self._kept))
        self._longest = longest_row(self._vectors[old])
        self._make_room(self._vectors[old], self._places[:, old], capacity)

    def _make_room(self, vectors: Matrix, places: Numbers, capacity: int) -> None:
        self._vectors = np.empty((capacity, vectors.shape[1]), dtype=np.float32)
        self._places = np.empty((2, capacity), dtype=np.int64)  # slots, and counts
        self._vectors[: len(vectors)], self._places[:, : len(vectors)] = vectors, places
