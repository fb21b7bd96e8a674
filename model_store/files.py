"""Small file operations: lines as our formats mean them, checksums, durable writes."""

import codecs
import errno
import hashlib
import mmap
import os
import tokenize
from collections.abc import Iterable
from pathlib import Path

from model_store.errors import CorruptBundle
from model_store.texts import NEWLINE, Buffer

NO_ARRAY = (OSError, ValueError, EOFError, OverflowError, SyntaxError, TypeError, tokenize.TokenError)
"""What numpy raises where a file is no array that it can read."""

_UNKNOWN = frozenset({errno.EINVAL, errno.ENOTSUP})  # what such file systems answer
_CHUNK = 1 << 20


def read_lines(path: Path) -> bytes:
    """A text whose every line ends in a newline.

    Raises:
        CorruptBundle: the file is unreadable, no UTF-8, or breaks off in the middle of a line.
    """
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise CorruptBundle(path, f"unreadable text: {exc}") from exc
    _check_lines(path, text)
    return text


def map_lines(path: Path) -> Buffer:
    """The same, mapped from the disk in place of being read into memory.

    Raises:
        CorruptBundle: the file is unreadable, no UTF-8, or breaks off in the middle of a line.
    """
    try:
        with path.open("rb") as file:  # what is empty cannot be mapped
            text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    except OSError as exc:
        raise CorruptBundle(path, f"unreadable text: {exc}") from exc
    _check_lines(path, text)
    return text


def _check_lines(path: Path, text: Buffer) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(text), _CHUNK):
            decoder.decode(text[start : start + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        raise CorruptBundle(path, f"unreadable text: {exc}") from exc
    if text[-1:] not in {b"", NEWLINE}:
        raise CorruptBundle(path, "expected a newline at the end of the last line")


def let_go(mapped: object) -> None:
    """Takes what is mapped of a file out of this process's memory; it comes back, from the file, when it is read.

    Where the system cannot, or this is no memory map, nothing happens.
    """
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


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
    """Flushes a file or a directory to disk; a directory not where its file system knows no such thing."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _UNKNOWN or not path.is_dir():
            raise
    finally:
        os.close(fd)


def write_durably(path: Path, text: str) -> None:
    """Replaces a small text file in one step that survives a crash: temporary sibling, flush, rename, flush."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        fsync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)
