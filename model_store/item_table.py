"""The metadata of a bundle's items, read from ``items.tsv``."""

from collections.abc import Sequence
from operator import ne
from pathlib import Path
from typing import overload

import numpy as np

from model_store.errors import CorruptBundle
from model_store.files import let_go, map_lines
from model_store.ids import IdMap
from model_store.texts import NEWLINE, TAB, Buffer, Places, Texts, places_of

_Row = tuple[str, ...]


class ItemTable(Sequence[_Row]):
    """One row of metadata for every item, one value for every column; they stay on the disk until they are asked for.

    Attributes:
        names: of the columns.
        columns: the values of each, by row; '' where an item has none.
    """

    def __init__(self, names: Sequence[str], columns: Sequence[Texts], n_items: int, buffer: Buffer = b"") -> None:
        self.names = tuple(names)
        self.columns = tuple(columns)
        self._n_items = n_items
        self._buffer = buffer

    def __len__(self) -> int:
        return self._n_items

    @overload
    def __getitem__(self, row: int) -> _Row: ...

    @overload
    def __getitem__(self, row: slice) -> list[_Row]: ...

    def __getitem__(self, row: int | slice) -> _Row | list[_Row]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(self._n_items))]
        if not -self._n_items <= row < self._n_items:  # where there are no columns, none would say so
            raise IndexError(row)
        return tuple(column[row] for column in self.columns)

    def let_go(self) -> None:
        """Takes what was read of the file out of memory again."""
        let_go(self._buffer)


def read_item_table(path: Path, items: IdMap) -> ItemTable:
    """Reads and checks ``items.tsv``.

    Raises:
        CorruptBundle: it is unreadable, ragged, or of other items.
    """
    text = map_lines(path)
    names = text[: text.find(NEWLINE)].decode().split("\t")
    ends = _ends_of_cells(text, len(names))
    if ends is None or names[0] != "item":
        raise CorruptBundle(path, "expected a header that begins with 'item' and rows of its width")
    ids = Texts(text, ends[:-1, -1], ends[1:, 0])
    if len(ids) != len(items) or any(map(ne, ids, items)):
        raise CorruptBundle(path, "expected the items of item_ids.txt in the same order")
    columns = [Texts(text, ends[1:, column - 1], ends[1:, column]) for column in range(1, len(names))]
    return ItemTable(names[1:], columns, len(items), text)


def _ends_of_cells(text: Buffer, width: int) -> Places | None:
    """The place of the separator after every cell, (lines, width); None where the lines are not all of this width."""
    places = places_of(text, TAB + NEWLINE)
    if len(places) % width:
        return None
    ends = places.reshape(-1, width)
    separators = np.frombuffer(text, dtype=np.uint8)[ends]
    whole = (separators[:, -1] == ord(NEWLINE)).all() and (separators[:, :-1] == ord(TAB)).all()
    return ends if whole else None
