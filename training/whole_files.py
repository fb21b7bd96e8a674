"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.files import fsync


def write_text(path: Path, text: str) -> None:
    """Writes a text file in place of the one before.

    Raises:
        OSError: it cannot be written; the one before stays.
    """
    with in_place_of(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """A file that takes the place of ``path`` in the end, and is gone where that does not come."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # another process may write the same, too
    try:
        yield partial
        fsync(partial)  # else a crash may leave an empty file in the place
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
