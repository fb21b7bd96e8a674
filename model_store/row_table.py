"""From strings to their rows, without keeping the strings: a hash table of numbers."""

import numpy as np
from numpy.typing import NDArray

from model_store.texts import Texts


class RowTable:
    """Finds the row of a string among ``texts``; each must be there once.

    The hash is Python's own, which nobody outside the process can foresee. A string's row lies in the first free slot
    from the one its hash names on, so that a few neighbours are looked at. There are two to four slots for each string.

    Attributes:
        doubtful: rows of strings whose hash is that of another one, ascending; the only ones that can be there twice.
    """

    __slots__ = ("_middle", "_shift", "_slots", "_texts", "doubtful")

    def __init__(self, texts: Texts) -> None:
        hashes = np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        same = np.flatnonzero(ordered[1:] == ordered[:-1])
        self.doubtful: list[int] = np.unique(order[[same, same + 1]]).tolist()
        bits = len(texts).bit_length() + 1
        self._texts = texts
        self._shift = 64 - bits  # the high bits: in their order strings are sorted already
        self._middle = 1 << (bits - 1)  # hashes are signed
        slots = _first_free((ordered >> self._shift) + self._middle)
        # One more slot is empty at the end, so that every search comes to one.
        table = np.full(max(1 << bits, int(slots.max(initial=0)) + 1) + 1, -1, dtype=np.int32)
        table[slots] = order
        self._slots: memoryview[int] = memoryview(table)  # type: ignore[arg-type]

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self.get(value) is not None

    def get(self, value: str) -> int | None:
        """The row of a string; None where it is not among them."""
        slots, texts = self._slots, self._texts
        slot = (hash(value) >> self._shift) + self._middle
        while (row := slots[slot]) >= 0:
            if texts[row] == value:
                return row
            slot += 1
        return None


def _first_free(wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each ends up, of those who come in the order of the slots they want and take the next free one."""
    numbers = np.arange(len(wanted))
    taken: NDArray[np.int64] = np.maximum.accumulate(wanted - numbers) + numbers
    return taken
