"""Columns turned round: from values to what has them, in rows where the bundle says so, in ids where a record does.

The numbers among the values are kept ascending as Python compares them, which is exact: numpy would round integers
beyond 2^53 where they meet fractions. So a range is two bisections and a slice, however many numbers there are.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

Key = str | int | float
Numbers = Sequence[int | float]
Span = Callable[[Numbers], tuple[int, int]]
"""Which of some numbers, ascending, are meant: from where to where; none where that is not before this."""
ItemRows = NDArray[np.int32]

NO_ROWS: ItemRows = np.empty(0, dtype=np.int32)

_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Postings:
    """The rows of each value, a number or two for each row and not an object.

    Attributes:
        numbers: those of the values that are numbers, ascending; the place of each in ``ends`` is that in here.
        places: each other value → its place in ``ends``.
        ends: (values,) where in ``rows`` the rows of a value end; they begin where those of the one before end.
        rows: (n,) int32 rows of the bundle's items.
    """

    numbers: Numbers = ()
    places: dict[Key, int] = field(default_factory=dict)
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    rows: ItemRows = field(default_factory=lambda: NO_ROWS)

    def of_any(self, keys: Iterable[Key]) -> ItemRows:
        """The rows that have one of these values, ascending, each once."""
        found = [self._between(place, place + 1) for key in keys if (place := self._place(key)) is not None]
        return ascending(np.concatenate(found)) if found else NO_ROWS

    def within(self, span: Span) -> ItemRows:
        """The rows that have one of the numbers that ``span`` names, ascending, each once."""
        return ascending(self._between(*span(self.numbers)))

    def of_all(self) -> ItemRows:
        """The rows that have any value, ascending, each once."""
        return ascending(self.rows)

    def _place(self, key: Key) -> int | None:
        if not _is_number(key):
            return self.places.get(key)
        place = bisect_left(self.numbers, key)
        return place if place < len(self.numbers) and self.numbers[place] == key else None

    def _between(self, start: int, stop: int) -> ItemRows:
        """The rows of the values at these places, value by value."""
        return self.rows[self.ends[start - 1] if start else 0 : self.ends[stop - 1]] if start < stop else NO_ROWS


class _Ascending:
    """Different numbers in order, in blocks: what comes or goes shifts some hundred others, and not all of them.

    One writer at a time; readers see a state that was, as no block is ever changed, but replaced by another.
    """

    def __init__(self, numbers: Iterable[int | float]) -> None:
        ordered = sorted(numbers)
        # None is empty, unless it is the only one.
        self._blocks = [ordered[n : n + _BLOCK] for n in range(0, len(ordered), _BLOCK)] or [[]]

    def within(self, span: Span) -> Numbers:
        blocks = self._blocks.copy()
        first, last = span([block[-1] for block in blocks[:-1]])
        numbers = list(chain.from_iterable(blocks[first : last + 1]))
        start, stop = span(numbers)
        return numbers[start:stop]

    def add(self, number: float) -> None:
        place = self._place(number)
        block = self._blocks[place].copy()
        insort(block, number)
        self._blocks[place : place + 1] = [block] if len(block) <= 2 * _BLOCK else [block[:_BLOCK], block[_BLOCK:]]

    def remove(self, number: float) -> None:
        place = self._place(number)
        block = self._blocks[place].copy()
        del block[bisect_left(block, number)]
        self._blocks[place : place + 1] = [block] if block or len(self._blocks) == 1 else []

    def _place(self, number: float) -> int:
        """Of the first block that ends with no less; of the last where none does."""
        return bisect_left(self._blocks, number, hi=len(self._blocks) - 1, key=itemgetter(-1))


class Written:
    """The items that were written with each value; no value is kept that no item has.

    One writer at a time. Readers see a state that was, and wait for nobody: what a writer may change meanwhile they
    take in single steps of the interpreter, as which the copy of a dictionary and each set of a union count.

    Args:
        pairs: items with their values at the start.
    """

    def __init__(self, pairs: Iterable[tuple[str, Key]] = ()) -> None:
        self._ids: dict[Key, set[str]] = {}
        for item_id, key in pairs:
            self._ids.setdefault(key, set()).add(item_id)
        self._numbers = _Ascending(filter(_is_number, self._ids))

    def __len__(self) -> int:
        return len(self._ids)

    def enter(self, item_id: str, key: Key) -> None:
        """Notes that an item has a value."""
        if (ids := self._ids.get(key)) is not None:
            ids.add(item_id)
            return
        self._ids[key] = {item_id}
        if _is_number(key):
            self._numbers.add(key)

    def take_out(self, item_id: str, key: Key) -> None:
        """Notes that an item no longer has a value, if it had it."""
        if (ids := self._ids.get(key)) is None:
            return
        ids.discard(item_id)
        if not ids:
            del self._ids[key]
            if _is_number(key):
                self._numbers.remove(key)

    def of_any(self, keys: Iterable[Key]) -> set[str]:
        """The items that have one of these values; the caller's own."""
        sets = [ids for key in keys if (ids := self._ids.get(key))]
        return set().union(*sets)

    def within(self, span: Span) -> set[str]:
        """The items that have one of the numbers that ``span`` names; the caller's own."""
        return self.of_any(self._numbers.within(span))

    def of_all(self) -> set[str]:
        """The items that have any value; the caller's own."""
        return set().union(*self._ids.copy().values())


def post(cells: Iterable[str], keys_of: Callable[[str], Iterable[Key]]) -> Postings:
    """Turns a column round; ``keys_of`` says which values there are in a cell."""
    codes: dict[str, int] = {}
    of_row = np.array([codes.setdefault(cell, len(codes)) for cell in cells], dtype=np.int32)
    seen: dict[Key, int] = {}
    pairs = [(seen.setdefault(key, len(seen)), code) for cell, code in codes.items() for key in {*keys_of(cell)}]
    if not pairs:
        return Postings()
    numbers, others = sorted(filter(_is_number, seen)), [key for key in seen if not _is_number(key)]
    place_of_seen = np.empty(len(seen), dtype=np.int64)
    place_of_seen[[seen[key] for key in (*numbers, *others)]] = np.arange(len(seen))
    seen_of, code_of = np.array(pairs, dtype=np.int64).T
    place_of = place_of_seen[seen_of]
    code_of = code_of[np.argsort(place_of, kind="stable")]
    counts = np.bincount(of_row, minlength=len(codes))
    lengths, starts = counts[code_of], (np.cumsum(counts) - counts)[code_of]
    ends = np.cumsum(lengths)
    chosen = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    rows = np.argsort(of_row, kind="stable").astype(np.int32)[chosen]
    last = np.cumsum(np.bincount(place_of)) - 1
    return Postings(numbers, {key: place for place, key in enumerate(others, len(numbers))}, ends[last], rows)


def ascending(rows: ItemRows) -> ItemRows:
    """Rows in order, each once."""
    # np.unique does the same by way of a hash table, which takes up to a hundred times as long (numpy 2.4).
    rows = np.sort(rows)
    first = np.ones(len(rows), dtype=np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    return rows[first]


def _is_number(key: Key) -> TypeGuard[int | float]:
    return not isinstance(key, str) and key == key  # noqa: PLR0124 - what is not a number is within no bounds
