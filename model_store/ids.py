"""External ids and the frozen map between them and row numbers."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from operator import eq

import numpy as np
from numpy.typing import NDArray

from model_store.errors import InvalidId
from model_store.row_table import RowTable
from model_store.texts import NEWLINE, Texts, lines_of

MAX_ID_LENGTH = 256

_MANY = 100_000  # ids from which on they are kept small instead of quick
_DELETE = 0x7F  # control characters in UTF-8: bytes below a space, this one, ...
_LEAD, _END = 0xC2, 0xA0  # ... and what begins with the one byte and goes on with one below the other


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

    Of many ids it keeps the text and a table of numbers, some 12 bytes an id beside its own; strings are made of them
    when they are asked for.

    >>> ids = IdMap(["a", "b"])
    >>> ids.row("b"), ids.id(0), len(ids), "c" in ids
    (1, 'a', 2, False)
    """

    __slots__ = ("_ids", "_rows")

    _ids: "_Ids | Texts"
    _rows: dict[str, int] | RowTable

    def __init__(self, ids: Iterable[str]) -> None:
        values = _Ids(map(check_id, ids))
        if len(values) >= _MANY:
            self._keep(lines_of("".join(f"{value}\n" for value in values).encode()))
            return
        self._ids, self._rows = values, {value: row for row, value in enumerate(values)}
        if len(self._rows) != len(values):
            _refuse_doubles(values)

    @classmethod
    def of_lines(cls, text: bytes) -> "IdMap":
        """The map of the ids in a text with one a line, the newline after the last one included.

        Raises:
            InvalidId: a line is no id, or not the only one of its kind.
            UnicodeDecodeError: the text is no UTF-8.
        """
        if text.count(NEWLINE) < _MANY:
            return cls(text.decode().split("\n")[:-1])
        made = cls.__new__(cls)
        texts = lines_of(text)
        for row in _odd_lines(text, texts):
            check_id(texts[row])
        made._keep(texts)  # noqa: SLF001 - one of us
        return made

    def _keep(self, texts: Texts) -> None:
        self._ids, self._rows = texts, RowTable(texts)
        _refuse_doubles(texts.take(self._rows.doubtful))

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, value: object) -> bool:
        return value in self._rows

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and len(self) == len(other) and all(map(eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

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
        row = self._rows.get(value)
        if row is None:
            raise KeyError(value)
        return row

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
        return self._ids.take(found)

    def known_rows(self, values: Iterable[str]) -> list[int]:
        """The rows of those of the ids that are in the map."""
        return [row for row in map(self._rows.get, values) if row is not None]

    def rows(self, values: Sequence[str]) -> NDArray[np.int64]:
        """The rows of several ids, (n,) int64.

        Raises:
            KeyError: one of them is not in the map.
        """
        found = list(map(self._rows.get, values))
        if None in found:
            raise KeyError(values[found.index(None)])
        return np.array(found, dtype=np.int64)


class _Ids(tuple[str, ...]):
    """Ids as they are, where they are few."""

    __slots__ = ()

    def take(self, rows: Iterable[int]) -> list[str]:
        """Several of them."""
        return [self[row] for row in rows]


def _odd_lines(text: bytes, lines: Texts) -> list[int]:
    """The lines that may be no ids, ascending: by their length in bytes, or for a control character.

    Every line that is none is among them.
    """
    codes = np.frombuffer(text, dtype=np.uint8)
    control = ((codes < ord(" ")) & (codes != ord("\n"))) | (codes == _DELETE)
    control[1:] |= (codes[:-1] == _LEAD) & (codes[1:] < _END)
    before, after = lines.bounds
    lengths = after - before - 1
    by_length = np.flatnonzero((lengths < 1) | (lengths > MAX_ID_LENGTH))
    odd: list[int] = np.union1d(by_length, np.searchsorted(after, np.flatnonzero(control))).tolist()
    return odd


def _refuse_doubles(ids: Iterable[str]) -> None:
    seen: set[str] = set()
    double = next((value for value in ids if value in seen or seen.add(value)), None)  # type: ignore[func-returns-value]
    if double is not None:
        raise InvalidId(double, "expected each id once")
