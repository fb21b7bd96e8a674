"""Small file operations: lines as our formats mean them, checksums, durable writes."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from model_store.errors import CorruptBundle

_CHUNK = 1 << 20


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text whose every line ends in a newline.

    Raises:
        CorruptBundle: the file is unreadable, no UTF-8, or breaks off in the middle of a line.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise CorruptBundle(path, f"unreadable text: {exc}") from exc
    # Not splitlines(): ids may hold characters (U+2028, say) that it takes for line ends.
    *lines, rest = text.split("\n")
    if rest:
        raise CorruptBundle(path, "expected a newline at the end of the last line")
    return lines


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes UTF-8 lines, each with its newline."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def sha256_of(path: Path) -> str:
    """The hex sha256 of a file.

    Raises:
        CorruptBundle: the file is missing or unreadable.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as exc:
        raise CorruptBundle(path, f"unreadable: {exc}") from exc
    return digest.hexdigest()


def fsync(path: Path) -> None:
    """Flushes a file or a directory to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, text: str) -> None:
    """Replaces a small text file in one step that survives a crash: temporary sibling, flush, rename, flush."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    fsync(temporary)
    temporary.replace(path)
    fsync(path.parent)
