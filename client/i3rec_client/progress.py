"""The two files that stand beside a file that is imported."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from i3rec_client.documents import Document, Malformed
from i3rec_client.errors import I3RecError
from i3rec_client.item_answers import Result
from i3rec_client.parts import Part


class UnreadableProgress(I3RecError):
    """A progress file that this command did not write."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is.

    Attributes:
        lines: acknowledged, whether written, refused or empty.
        sha256: of these lines, in hexadecimal: tells whether the file is still the same.
    """

    lines: int = 0
    written: int = 0
    failed: int = 0
    sha256: str = ""


class ProgressFile:
    """Keeps how far an import is; always holds a whole state, whenever the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Progress:
        """How far it is; the beginning where there is no file.

        Raises:
            UnreadableProgress: it holds something else.
        """
        try:
            document = Document.parse(self.path.read_bytes())
            lines, written, failed = (document.get(name, int) for name in ("lines", "written", "failed"))
            return Progress(lines, written, failed, document.get("sha256", str))
        except FileNotFoundError:
            return Progress()
        except Malformed as exc:
            raise UnreadableProgress(f"{self.path}: {exc}; remove it to begin anew") from exc

    def write(self, progress: Progress) -> None:
        """Replaces what was kept."""
        write_whole(self.path, json.dumps(asdict(progress)).encode() + b"\n")

    def remove(self) -> None:
        """Forgets it."""
        self.path.unlink(missing_ok=True)


class FailedLines:
    """Keeps the lines that were refused, each with its number, the reason, and its text as it was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep(self, lines: int) -> None:
        """Drops what came after so many lines: they are sent again, and refused again."""
        if not self.path.exists():
            return
        # Half a line was never noted as done: it is sent again, too.
        whole = [line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        kept = [line for line in whole if _number(line) <= lines]
        if kept:
            write_whole(self.path, b"".join(kept))
        else:
            self.path.unlink()

    def add(self, results: Sequence[Result], part: Part) -> None:
        """Adds lines of a part; once it returns they are on disk."""
        if not results:
            return
        with self.path.open("ab") as file:
            for result in results:
                file.write(json.dumps(_entry(result, part)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _number(line: bytes) -> int:
    try:
        return Document.parse(line).get("line", int)
    except Malformed:
        return 0  # not ours to drop


def _entry(result: Result, part: Part) -> dict[str, object]:
    text = part.lines[(result.line or 0) - part.before - 1].decode("utf-8", "replace")
    reason = result.error.detail if result.error else ""
    return {"line": result.line, "item_id": result.item_id, "status": result.status, "reason": reason, "text": text}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that at any moment it holds either what it held before or the whole content."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
