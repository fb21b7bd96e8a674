"""What an index is made of: a main segment that never changes, and a delta that only grows.

Items are told by *slots*, numbers that the index gives out. A slot may have had several rows; at most one of them is
alive. Readers look at a ``View``: arrays that are never written again as far as the view reaches.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.adapters.changes import Moment
from service.adapters.exact_scan import Batch, Found, Numbers, scan
from service.adapters.ranked import Ask, NamesOf, Ranked
from service.adapters.ranking import longest_row
from service.domain import Matrix

logger = logging.getLogger(__name__)

NONE: Numbers = np.empty(0, dtype=np.int64)


class Engine(Protocol):
    """Finds the best rows of a main segment. Synchronous; thread-safe.

    One that has a quicker way than to propose candidates has a ``whole`` (``Whole``) as well.
    """

    def find(self, batch: Batch) -> Found:
        """The best rows of every query; what is hidden or excluded is not among them."""
        ...


class Whole(Protocol):
    """Carries out whole searches: of both segments, to ranked slots. Synchronous; thread-safe."""

    def search(self, view: "View", asks: Sequence[Ask], names: NamesOf) -> list[Ranked | None]:
        """What is best for queries without ``allow``; None for those for which it cannot tell."""
        ...


class ExactEngine:
    """Looks at every row."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    def find(self, batch: Batch) -> Found:
        """The rows among which the exact best of every query are."""
        return scan(self._matrix, batch)


class Guarded:
    """Searches with an engine as long as it works; once it has failed, looks at every row instead.

    Args:
        engine: that may fail, for instance as its device is lost; None = it could not even be made.
        matrix: (n, d) float32, what it searches.

    Attributes:
        lost: whether it has failed, or its quicker way.
    """

    def __init__(self, engine: Engine | None, matrix: Matrix) -> None:
        self._engine = engine
        self._whole: Whole | None = getattr(engine, "whole", None)
        self.lost = engine is None
        self._matrix = matrix

    def find(self, batch: Batch) -> Found:
        """What the engine finds, or would have to."""
        if engine := self._engine:
            try:
                return engine.find(batch)
            except Exception:  # whatever it is: the rows are here, and can be searched without it
                logger.exception("index_engine_lost", extra={"engine": type(engine).__name__})
                self._engine, self.lost = None, True
        return scan(self._matrix, batch)

    def search(self, view: "View", asks: Sequence[Ask], names: NamesOf) -> Sequence[Ranked | None]:
        """What is best for queries without ``allow``; None for those that are to be searched for step by step."""
        if whole := self._whole:
            try:
                return whole.search(view, asks, names)
            except Exception:  # likewise, step by step
                logger.exception("index_engine_lost", extra={"engine": type(whole).__name__})
                self._whole, self.lost = None, True
        return [None] * len(asks)


@dataclass(frozen=True, slots=True)
class Main:
    """The main segment.

    Attributes:
        matrix: (n, d) float32; may be mapped from a file.
        slots: of the rows; None = the rows are the slots.
        engine: searches it.
        longest: the largest Euclidean norm of a row.
    """

    matrix: Matrix
    slots: Numbers | None
    engine: Guarded
    longest: float
    _rows: Numbers | None  # slot → row, or -1

    @classmethod
    def of(cls, matrix: Matrix, slots: Numbers | None, engine: Engine | None) -> "Main":
        """A segment of these rows."""
        rows = None
        if slots is not None:
            rows = np.full(int(slots.max()) + 1 if slots.size else 0, -1, dtype=np.int64)
            rows[slots] = np.arange(len(slots))
        return cls(matrix, slots, Guarded(engine, matrix), longest_row(matrix), rows)

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def rows_by_slot(self) -> Numbers | None:
        """The row of each slot, or -1; None = the slots are the rows."""
        return self._rows

    def rows_of(self, slots: Numbers) -> tuple[Numbers, Numbers]:
        """The rows of those slots that have one here, and the places of these among the slots."""
        if self._rows is None:
            places = (slots < len(self.matrix)).nonzero()[0]
            return slots[places], places
        rows = self._rows[np.minimum(slots, len(self._rows) - 1)] if self._rows.size else np.full(len(slots), -1)
        places = np.flatnonzero((slots < len(self._rows)) & (rows >= 0))
        return rows[places], places

    def slots_of(self, rows: Numbers) -> Numbers:
        """The slots of rows."""
        return rows if self.slots is None else self.slots[rows]


@dataclass(slots=True)
class Delta:
    """The rows that came after the main segment; one writer at a time. Rows are written once."""

    matrix: Matrix
    slots: Numbers
    size: int = 0
    longest: float = 0.0
    latest: dict[int, int] = field(default_factory=dict)  # slot → its latest row
    before: list[int] = field(default_factory=list)  # row → the row its slot had before in here, or -1
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, dtype=bool))  # which slots have rows; its last
    # place stands for all slots beyond it, and is never set

    @classmethod
    def empty(cls, d: int, capacity: int = 64) -> "Delta":
        """A delta for vectors of d numbers."""
        return cls(np.empty((capacity, d), dtype=np.float32), np.empty(capacity, dtype=np.int64))

    def append(self, slots: Sequence[int], vectors: Matrix) -> None:
        """Adds rows, each of another slot. What views see stays as it is."""
        start, end = self.size, self.size + len(slots)
        if end > len(self.matrix):
            self._grow(max(end, 2 * len(self.matrix)))
        self.matrix[start:end] = vectors
        self.slots[start:end] = slots
        self.longest = max(self.longest, longest_row(vectors))
        self._know(np.array(slots, dtype=np.int64))
        for row, slot in enumerate(slots, start):
            self.before.append(self.latest.get(slot, -1))
            self.latest[slot] = row
        self.size = end

    def _know(self, slots: Numbers) -> None:
        most = int(slots.max(initial=0)) + 2
        known = self.known
        if most > len(known):
            known = np.zeros(max(most, 2 * len(known)), dtype=bool)
            known[: len(self.known)] = self.known
        known[slots] = True
        self.known = known

    def _grow(self, capacity: int) -> None:
        matrix = np.empty((capacity, self.matrix.shape[1]), dtype=np.float32)
        slots = np.empty(capacity, dtype=np.int64)
        matrix[: self.size], slots[: self.size] = self.matrix[: self.size], self.slots[: self.size]
        self.matrix, self.slots = matrix, slots

    def rows_of(self, slots: Numbers, size: int) -> tuple[Numbers, Numbers]:
        """All rows below ``size`` that these slots ever had, and the place of its slot for each.

        May be asked while a writer appends.
        """
        known = self.known
        here = np.flatnonzero(known[np.minimum(slots, len(known) - 1)]) if size else NONE
        rows, places = [], []
        for place, slot in zip(here.tolist(), slots[here].tolist(), strict=True):
            row = self.latest.get(slot, -1)
            while row >= 0:
                if row < size:
                    rows.append(row)
                    places.append(place)
                row = self.before[row]
        return np.array(rows, dtype=np.int64), np.array(places, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class View:
    """What a search looks at: the index as it was at one moment.

    Attributes:
        main: the main segment.
        main_dead: its rows that are gone, ascending.
        delta: the delta; may have grown since.
        vectors: its rows at that moment, (n, d).
        slots: theirs.
        delta_dead: its rows that are gone, ascending.
        longest: the largest Euclidean norm of a row of the delta.
        changes: what was written of late.
    """

    main: Main
    main_dead: Numbers
    delta: Delta
    vectors: Matrix
    slots: NDArray[np.int64]
    delta_dead: Numbers
    longest: float
    changes: Moment

    @classmethod
    def of(cls, main: Main, main_dead: Numbers, delta: Delta, delta_dead: Numbers, changes: Moment) -> "View":
        """The view of this very moment; call it where no writer is."""
        n = delta.size
        return cls(main, main_dead, delta, delta.matrix[:n], delta.slots[:n], delta_dead, delta.longest, changes)

    def __len__(self) -> int:
        return len(self.main) - len(self.main_dead) + len(self.slots) - len(self.delta_dead)

    @property
    def wasted(self) -> int:
        """Rows that are searched in vain."""
        return len(self.main_dead) + len(self.delta_dead)


def with_rows(dead: Numbers, rows: Numbers) -> Numbers:
    """The ascending numbers ``dead`` and these; what is among them already is not added again."""
    if not rows.size:
        return dead
    more = np.unique(rows)
    places = np.searchsorted(dead, more)
    new = np.ones(len(more), dtype=bool)
    inside = places < len(dead)
    new[inside] = dead[places[inside]] != more[inside]
    grown: Numbers = np.insert(dead, places[new], more[new])
    return grown


def without_rows(rows: Numbers, dead: Numbers) -> Numbers:
    """Rows, in their order, but for those that are among the ascending numbers ``dead``."""
    if not dead.size or not rows.size:
        return rows
    places = np.minimum(np.searchsorted(dead, rows), len(dead) - 1)
    alive: Numbers = rows[dead[places] != rows]
    return alive
