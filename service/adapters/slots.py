"""Numbers for ids: what an index is made of tells items by these."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store import IdMap
from service.adapters.exact_scan import Numbers
from service.adapters.segments import NONE


class Slots:
    """Gives every id one number for good. One writer at a time; readers never wait.

    Args:
        first: the ids whose slots are their rows; those that come later follow.
    """

    def __init__(self, first: IdMap) -> None:
        self._first = first
        self._later: dict[str, int] = {}  # id → slot
        self._later_ids: list[str] = []

    def give(self, item_id: str) -> int:
        """The slot of an id, a new one where it has none; call it as the writer."""
        slot = self._first.get(item_id)
        if slot is None:
            slot = self._later.get(item_id)
        if slot is None:
            slot = len(self._first) + len(self._later_ids)
            self._later_ids.append(item_id)
            self._later[item_id] = slot
        return slot

    def of(self, item_ids: Collection[str], rows: NDArray[np.integer[Any]] | None = None) -> Numbers:
        """The slots of those ids that have one, and of rows among the first items, which are their slots."""
        found = self._first.known_rows(item_ids) if item_ids else []
        if self._later:
            found += [slot for item_id in item_ids if (slot := self._later.get(item_id)) is not None]
        slots = np.array(found, dtype=np.int64) if found else NONE
        if rows is None:
            return slots
        more: Numbers = rows.astype(np.int64, copy=False)
        return np.concatenate([slots, more]) if found else more

    def ids(self, slots: Sequence[int]) -> list[str]:
        """The ids that have these slots."""
        n = len(self._first)
        if not self._later or max(slots, default=-1) < n:
            return self._first.ids(slots)
        first = iter(self._first.ids([slot for slot in slots if slot < n]))
        return [next(first) if slot < n else self._later_ids[slot - n] for slot in slots]
