"""Labels of a bundle's items in one piece of memory: a list's are read in twenty looks, not through as many objects."""

import threading
import time
from collections.abc import Iterable, Sequence
from struct import Struct

import numpy as np

from service.paging import HASH_BYTES

Label = bytes
"""What is always said of an item: the hash that cursors name it by, then the JSON of its place in a list, with a zero
byte, which no JSON has, for its score and nothing for its rank."""

_SIZE = Struct("=I")


class Sheet:
    """Labels by row. Thread-safe: a label is told of only once it is written, and never changes.

    Args:
        n: rows.

    Attributes:
        text: each label after its length, four bytes; begins with a byte that is none.
        starts: (n,) int64, where each begins with its length; 0 = it is not there.
    """

    __slots__ = ("_held", "_writing", "starts", "text")

    def __init__(self, n: int) -> None:
        self.text = bytearray(1)
        self.starts = np.zeros(n, dtype=np.int64)
        self._held = 0
        self._writing = threading.Lock()

    def __len__(self) -> int:
        return self._held

    def missing(self, rows: Iterable[int]) -> list[int]:
        """Those of the rows whose labels are not there."""
        return [row for row in rows if not self.starts[row]]

    def write(self, rows: Sequence[int], labels: Iterable[Label]) -> None:
        """Writes labels down."""
        with self._writing:
            for row, label in zip(rows, labels, strict=True):
                start = len(self.text)
                self._append(_SIZE.pack(len(label)) + label)
                self.starts[row] = start
                self._held += 1

    def _append(self, data: bytes) -> None:
        while True:
            try:
                self.text += data
            except BufferError:  # C is reading it and was interrupted, as a collection of garbage may do
                time.sleep(0)
            else:
                return

    def read(self, row: int) -> Label:
        """The label of a row, which is there."""
        start = int(self.starts[row])
        (size,) = _SIZE.unpack_from(self.text, start)
        return bytes(self.text[start + _SIZE.size : start + _SIZE.size + size])


def parts_of(label: Label) -> tuple[bytes, bytes]:
    """The hash, and the place."""
    return label[:HASH_BYTES], label[HASH_BYTES:]
