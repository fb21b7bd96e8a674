"""What the command line shows: text for people, safe for their terminals."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from i3rec_client.exporting import Exported
from i3rec_client.item_answers import Result
from i3rec_client.lists import ItemList
from i3rec_client.progress import Progress


def printable(text: str) -> str:
    """Text without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def list_text(found: ItemList) -> str:
    """A list as a table."""
    rows = [(str(place.rank), f"{place.score:.4f}", place.item_id, place.title or "") for place in found.items]
    head = f"{found.strategy} list of model {found.model_version}"
    degraded = f" (degraded: {', '.join(found.degraded)})" if found.degraded else ""
    return "\n".join([printable(head + degraded), *_table(("rank", "score", "item", "title"), rows)])


def list_json(found: ItemList) -> str:
    """A list as a JSON document."""
    return json.dumps(asdict(found), ensure_ascii=False, indent=2)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


class ImportReport:
    """Tells how an import goes: refused lines one by one, and on a terminal how far it is.

    Args:
        path: of what is imported.
        stream: is written to.
    """

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path = path
        self._stream = stream
        self._size = path.stat().st_size
        self._line = LiveLine(stream)

    def failed(self, result: Result) -> None:
        """A line was refused."""
        reason = result.error.detail if result.error else ""
        self._line.clear()
        print(f"{self._path}:{result.line}: {result.status} {printable(reason)}", file=self._stream)

    def progress(self, progress: Progress, position: int) -> None:
        """The import has come this far."""
        share = position / max(self._size, position, 1)
        self._line.show(f"{share:4.0%}  {progress.lines:,} lines, {progress.failed:,} refused")

    def waiting(self, pause_s: float) -> None:
        """The service cannot store items now."""
        self._line.show(f"the service cannot store items now, again in {pause_s:.0f} s")

    def end(self) -> None:
        """The import is over, however it ended."""
        self._line.clear()


class ExportReport:
    """Tells on a terminal how far an export is.

    Args:
        stream: is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._line = LiveLine(stream)

    def progress(self, done: Exported) -> None:
        """The export has come this far."""
        self._line.show(f"{done.items:,} items, {done.size:,} bytes")

    def end(self) -> None:
        """The export is over, however it ended."""
        self._line.clear()


class LiveLine:
    """One line that changes, on a terminal; elsewhere nothing.

    Args:
        stream: is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()

    def show(self, text: str) -> None:
        """Puts a text in place of the one before."""
        if self._live:
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)

    def clear(self) -> None:
        """Takes it away."""
        if self._live:
            print("\r\x1b[K", end="", file=self._stream)
