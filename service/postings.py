"""A column of the bundle's items turned round: from its values to the rows that have them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Key = str | int | float
ItemRows = NDArray[np.int32]

NO_ROWS: ItemRows = np.empty(0, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Postings:
    """The rows of each value, a number or two for each row and not an object.

    Attributes:
        places: value → its place in ``ends``.
        ends: (values,) where in ``rows`` the rows of a value end; they begin where those of the one before end.
        rows: (n,) int32 rows of the bundle's items.
    """

    places: dict[Key, int] = field(default_factory=dict)
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    rows: ItemRows = field(default_factory=lambda: NO_ROWS)

    def of_any(self, keys: Iterable[Key]) -> ItemRows:
        """The rows that have one of these values, ascending, each once."""
        found = [self._of(self.places[key]) for key in keys if key in self.places]
        return np.unique(np.concatenate(found)) if found else NO_ROWS

    def _of(self, place: int) -> ItemRows:
        return self.rows[self.ends[place - 1] if place else 0 : self.ends[place]]


def post(cells: Iterable[str], keys_of: Callable[[str], Iterable[Key]]) -> Postings:
    """Turns a column round; ``keys_of`` says which values there are in a cell."""
    codes: dict[str, int] = {}
    of_row = np.array([codes.setdefault(cell, len(codes)) for cell in cells], dtype=np.int32)
    places: dict[Key, int] = {}
    pairs = [(places.setdefault(key, len(places)), code) for cell, code in codes.items() for key in {*keys_of(cell)}]
    if not pairs:
        return Postings()
    by_key, code_of = np.array(sorted(pairs), dtype=np.int64).T
    counts = np.bincount(of_row, minlength=len(codes))
    lengths, starts = counts[code_of], (np.cumsum(counts) - counts)[code_of]
    ends = np.cumsum(lengths)
    chosen = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
    rows = np.argsort(of_row, kind="stable").astype(np.int32)[chosen]
    last = np.searchsorted(by_key, np.arange(len(places)), side="right") - 1
    return Postings(places, ends[last], rows)
