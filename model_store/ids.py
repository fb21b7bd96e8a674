"""External ids and the frozen map between them and row numbers."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidId

MAX_ID_LENGTH = 256


def check_id(value: object) -> str:
    """Returns ``value`` if it may serve as an external id.

    Raises:
        InvalidId: ``value`` is no string of 1–256 characters without control characters and lone surrogates.
    """
    if not isinstance(value, str):
        raise InvalidId(value, f"expected a string, found {type(value).__name__}")
    if not 1 <= len(value) <= MAX_ID_LENGTH:
        raise InvalidId(value[:32], f"expected 1 to {MAX_ID_LENGTH} characters, found {len(value)}")
    # Cc: control characters (tab and newline would break our text files); Cs: surrogates, which UTF-8 cannot carry.
    if not value.isascii() and any(unicodedata.category(c) in {"Cc", "Cs"} for c in value):
        raise InvalidId(value, "expected no control characters")
    if value.isascii() and not value.isprintable():
        raise InvalidId(value, "expected no control characters")
    return value


class IdMap:
    """A frozen one-to-one map between external ids and the rows 0…n-1.

    >>> ids = IdMap(["a", "b"])
    >>> ids.row("b"), ids.id(0), len(ids), "c" in ids
    (1, 'a', 2, False)
    """

    __slots__ = ("_ids", "_rows")

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = tuple(check_id(value) for value in ids)
        self._rows = {value: row for row, value in enumerate(self._ids)}
        if len(self._rows) != len(self._ids):
            seen: set[str] = set()
            double = next(value for value in self._ids if value in seen or seen.add(value))  # type: ignore[func-returns-value]
            raise InvalidId(double, "expected each id once")

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, value: object) -> bool:
        return value in self._rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self._ids == other._ids

    def __hash__(self) -> int:
        return hash(self._ids)

    def __repr__(self) -> str:
        return f"IdMap({len(self)} ids)"

    def id(self, row: int) -> str:
        """The external id of ``row``.

        Raises:
            IndexError: ``row`` is outside 0…n-1.
        """
        if row < 0:
            raise IndexError(row)
        return self._ids[row]

    def row(self, value: str) -> int:
        """The row of an external id.

        Raises:
            KeyError: the id is not in the map.
        """
        return self._rows[value]

    def get(self, value: str) -> int | None:
        """The row of an external id, or None."""
        return self._rows.get(value)

    def ids(self, rows: Iterable[int]) -> list[str]:
        """The external ids of several rows.

        Raises:
            IndexError: one of them is outside 0…n-1.
        """
        found = tuple(rows)
        if found and min(found) < 0:
            raise IndexError(min(found))
        ids = self._ids
        return [ids[row] for row in found]

    def known_rows(self, values: Iterable[str]) -> list[int]:
        """The rows of those of the ids that are in the map."""
        rows = self._rows
        return [rows[value] for value in values if value in rows]

    def rows(self, values: Sequence[str]) -> NDArray[np.int64]:
        """The rows of several ids, (n,) int64.

        Raises:
            KeyError: one of them is not in the map.
        """
        return np.fromiter((self._rows[value] for value in values), dtype=np.int64, count=len(values))
