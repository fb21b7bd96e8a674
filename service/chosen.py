"""Some items of a catalogue, as those ask for them who search by category or attribute."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import chain

from model_store import IdMap
from service.postings import NO_ROWS, ItemRows


class Chosen(AbstractSet[str]):
    """A set of item ids, most of which are known by their rows and not spelled out until somebody wants them.

    Args:
        ids: some of them.
        rows: the others: (n,) rows of the bundle's items, ascending, none of them among ``ids``.
        items: the ids of the bundle's items.
    """

    def __init__(self, ids: frozenset[str], rows: ItemRows = NO_ROWS, items: IdMap | None = None) -> None:
        self.ids = ids
        self.rows = rows
        self._items = items

    def __contains__(self, item_id: object) -> bool:
        if item_id in self.ids:
            return True
        row = self._items.get(item_id) if self._items and isinstance(item_id, str) else None
        return row is not None and row in self._rows

    def __iter__(self) -> Iterator[str]:
        return chain(self.ids, self._items.ids(self.rows.tolist()) if self._items else ())

    def __len__(self) -> int:
        return len(self.ids) + len(self.rows)

    @cached_property
    def _rows(self) -> frozenset[int]:
        return frozenset(self.rows.tolist())
