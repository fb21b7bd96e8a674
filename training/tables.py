"""Reads the tables of a dataset directory, TSV or Parquet, as columns of text."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from training.errors import DatasetError

_BLOCK_BYTES = 1 << 25  # no line may be longer than a block


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it stands in its file.

    Attributes:
        path: the file.
        columns: name → pyarrow chunked array, in file order; text from TSV, any type from Parquet.
        first_line: number of the line (Parquet: row) that holds row 0.
    """

    path: Path
    columns: dict[str, pa.ChunkedArray]
    first_line: int

    def line(self, row: int) -> int:
        """The number by which messages call a row."""
        return self.first_line + int(row)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def find_table(directory: Path, stem: str) -> Path | None:
    """The path of ``stem`` as TSV or Parquet, or None where neither exists.

    Raises:
        DatasetError: both exist.
    """
    paths = [path for path in (directory / f"{stem}.tsv", directory / f"{stem}.parquet") if path.is_file()]
    if len(paths) == 2:  # noqa: PLR2004
        raise DatasetError(directory, f"either {stem}.tsv or {stem}.parquet", "both")
    return paths[0] if paths else None


def read_table(path: Path) -> Table:
    """Reads a table; its columns have distinct names that are not empty.

    Raises:
        DatasetError: the file is empty, unreadable, no UTF-8, ragged or names a column twice.
    """
    return _read_parquet(path) if path.suffix == ".parquet" else _read_tsv(path)


def _read_parquet(path: Path) -> Table:
    try:
        content = pa.parquet.ParquetFile(path).read()
        names = list(content.column_names)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as exc:
        raise DatasetError(path, "a Parquet file", f"an unreadable file ({exc})") from exc
    try:
        content.validate(full=True)
    except pa.ArrowException as exc:
        raise DatasetError(path, "sound columns, their text in UTF-8", str(exc)) from exc
    _check_names(path, names, line=None)
    return Table(path, dict(zip(names, content.columns, strict=True)), first_line=1)


def _read_tsv(path: Path) -> Table:
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as exc:
        raise DatasetError(path, "a readable file", str(exc)) from exc
    header = data.split(b"\n", 1)[0].removesuffix(b"\r")
    if not header.strip():
        raise DatasetError(path, "a header line", "an empty file" if not data.strip() else "an empty line", line=1)
    # The parser takes a lone carriage return for a line end, and an empty line for a row of empty cells.
    blank = b"\t" in header and (b"\n\n" in data or b"\n\r\n" in data)
    if blank or data.count(b"\r") != data.count(b"\r\n"):
        _refuse(path, data, "a lone carriage return or an empty line")
    try:
        names = header.decode().split("\t")
        _check_names(path, names, line=1)
        content = _parse(data if data.endswith(b"\n") else data + b"\n", names)
    except (UnicodeDecodeError, pa.ArrowException) as exc:
        _refuse(path, data, str(exc))
    return Table(path, dict(zip(names, content.columns, strict=True)), first_line=2)


def _parse(data: bytes, names: list[str]) -> pa.Table:
    return pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1, block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(
            delimiter="\t", quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
        ),
    )


def _check_names(path: Path, names: list[str], line: int | None) -> None:
    for name in names:
        if any(character in name for character in "\t\r\n"):
            raise DatasetError(path, "no tab and no line end in the name of a column", repr(name), line)
        if not name:
            raise DatasetError(path, "a name for each column", f"the columns {names}", line)
        if names.count(name) > 1:
            raise DatasetError(path, "each column once", f"{name!r} {names.count(name)} times", line)


def _refuse(path: Path, data: bytes, reason: str) -> NoReturn:
    """Raises the error of the first line that is no row of the table; slow, as only a defective file comes here."""
    width = data.split(b"\n", 1)[0].count(b"\t") + 1
    lines = data.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=1):
        cells = line.removesuffix(b"\r").split(b"\t")
        try:
            line.decode()
        except UnicodeDecodeError as exc:
            raise DatasetError(path, "UTF-8 text", f"byte 0x{line[exc.start]:02x}", number) from exc
        if b"\r" in line.removesuffix(b"\r"):
            raise DatasetError(path, "no carriage return inside a line", "one", number)
        if len(cells) != width:
            found = f"{len(cells)} column{'s' * (len(cells) > 1)}" if any(cells) else "an empty line"
            raise DatasetError(path, f"{width} columns as in the header", found, number)
    raise DatasetError(path, "a table of tab-separated text", reason)
