"""Turns columns of text into ids, numbers and split codes; a bad value is reported with its line."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model_store import InvalidId, check_id
from training.errors import DatasetError
from training.interactions import SPLIT_NAMES
from training.tables import Table

_Float = TypeVar("_Float", np.float32, np.float64)
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True, slots=True)
class IdColumn:
    """A column of ids.

    Attributes:
        distinct: its distinct ids in order of appearance.
        codes: (n,) int32, for each row the position of its id in ``distinct``.
    """

    distinct: list[str]
    codes: NDArray[np.int32]

    def first_row(self, code: int) -> int:
        """The first row that holds the id ``distinct[code]``."""
        return int(np.argmax(self.codes == code))


def check_columns(table: Table, required: Collection[str], allowed: Collection[str] | None = None) -> None:
    """Checks which columns a table has; ``allowed`` = None permits any further ones.

    Raises:
        DatasetError: a required column is missing, or one is not allowed.
    """
    line = table.first_line - 1 or None
    found = f"the columns {', '.join(table.columns)}"
    if missing := [name for name in required if name not in table.columns]:
        raise DatasetError(table.path, f"a column {missing[0]!r}", found, line)
    if allowed is not None and (unknown := [name for name in table.columns if name not in allowed]):
        raise DatasetError(table.path, f"only the columns {', '.join(allowed)}", f"{unknown[0]!r}", line)


def read_ids(table: Table, name: str) -> IdColumn:
    """Reads a column of ids; integers from Parquet become their decimal text.

    Raises:
        DatasetError: a value is no id (see ``model_store.check_id``).
    """
    column = _without_nulls(table, name)
    if not (pa.types.is_integer(column.type) or _is_text(column.type)):
        raise DatasetError(table.path, f"strings or integers in column {name!r}", f"the type {column.type}")
    encoded = column.cast(pa.string()).dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks or not len(column):
        return IdColumn([], np.empty(0, np.int32))
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).astype(np.int32, copy=False)
    ids = IdColumn(encoded.chunk(0).dictionary.to_pylist(), codes)
    for code, value in enumerate(ids.distinct):
        try:
            check_id(value)
        except InvalidId as exc:
            expected = f"1 to 256 printable characters in column {name!r}"
            raise DatasetError(table.path, expected, f"{exc.value!r}", table.line(ids.first_row(code))) from exc
    return ids


def read_numbers(table: Table, name: str, dtype: type[_Float]) -> NDArray[_Float]:
    """Reads a column of finite numbers, (n,) of ``dtype``; Parquet timestamps become seconds since 1970.

    Raises:
        DatasetError: a value is no finite number, or too large for ``dtype``.
    """
    column = _without_nulls(table, name)
    if pa.types.is_timestamp(column.type):
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), _PER_SECOND[column.type.unit])
    elif pa.types.is_integer(column.type):
        column = column.cast(pa.float64(), safe=False)  # the nearest one: nanoseconds have more digits than it holds
    elif _is_text(column.type):
        column = column.cast(pa.string())
    try:
        exact: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    except pa.ArrowNotImplementedError as exc:
        raise DatasetError(table.path, f"numbers in column {name!r}", f"the type {column.type}") from exc
    except pa.ArrowInvalid:
        row = _first_refused(column)
        raise _no_number(table, name, row, column[row].as_py()) from None
    with np.errstate(over="ignore"):
        numbers = exact.astype(dtype, copy=False)
    finite = np.isfinite(numbers)
    if not finite.all():
        row = int(np.argmin(finite))
        raise _no_number(table, name, row, column[row].as_py())
    return numbers


def read_split(table: Table, name: str = "split") -> NDArray[np.int8]:
    """Reads the split column as codes, (n,) int8.

    Raises:
        DatasetError: a value is not train, val or test.
    """
    column = _without_nulls(table, name)
    if not _is_text(column.type):
        raise DatasetError(table.path, f"train, val or test in column {name!r}", f"the type {column.type}")
    codes = pc.fill_null(pc.index_in(column.cast(pa.string()), value_set=pa.array(SPLIT_NAMES)), -1)
    split: NDArray[np.int8] = codes.to_numpy().astype(np.int8)
    if (split < 0).any():
        row = int(np.argmax(split < 0))
        raise DatasetError(table.path, "train, val or test", f"{column[row].as_py()!r}", table.line(row))
    return split


def read_text(table: Table, name: str) -> list[str]:
    """Reads a column of metadata as text; a null of Parquet becomes the empty text.

    Raises:
        DatasetError: a value is no scalar, or holds a tab or a line end.
    """
    column = table.columns[name]
    try:
        text = pc.fill_null(column.cast(pa.string()), "")
    except pa.ArrowException as exc:
        raise DatasetError(table.path, f"text or numbers in column {name!r}", f"the type {column.type}") from exc
    broken = pc.match_substring_regex(text, r"[\t\n\r]")
    if (row := pc.index(broken, True).as_py()) >= 0:
        raise DatasetError(table.path, f"no tab and no line end in column {name!r}", "one", table.line(row))
    values: list[str] = text.to_pylist()
    return values


def _without_nulls(table: Table, name: str) -> pa.ChunkedArray:
    column = table.columns[name]
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise DatasetError(table.path, f"a value in column {name!r}", "null", table.line(row))
    return column


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _first_refused(column: pa.ChunkedArray) -> int:
    """The first row whose text is no number, by bisection."""
    low, high = 0, len(column)  # [0, low) is sound, [low, high) is not
    while high - low > 1:
        middle = (low + high) // 2
        try:
            column.slice(low, middle - low).cast(pa.float64())
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def _no_number(table: Table, name: str, row: int, value: object) -> DatasetError:
    return DatasetError(table.path, f"a finite number in column {name!r}", f"{value!r}", table.line(row))
