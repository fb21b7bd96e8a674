"""A SQLite database's files, and whether they are still where they were opened."""

import contextlib
import os
from pathlib import Path

from service.errors import StorageUnavailable

_Identity = tuple[int, int]  # device and inode


class DatabaseFile:
    """Notices that a database's file was moved, removed or replaced while it is open.

    What is written then reaches the file that was opened, and whoever opens the path next does not find it. SQLite
    looks for this itself, but not where there is a write-ahead log.

    Args:
        path: of the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # as SQLite has it: the working directory may change
        self._log = self._path.with_name(f"{self._path.name}-wal")
        self._opened: _Identity | None = None

    def opened(self) -> None:
        """Notes which file was opened first; call it after each connection has."""
        if self._opened is None:
            self._opened = _identity(self._path)

    def make(self) -> None:
        """Makes an empty file where there is none, for its owner alone; SQLite makes the log and the index like it."""
        with contextlib.suppress(OSError):  # it is there; or SQLite is about to say why it cannot be
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def check_path(self) -> None:
        """Checks that whoever opens the path now, opens the same file again, or one whose log is its own.

        Raises:
            StorageUnavailable: it was opened, and is not there any more, or is another one; or it is missing or empty,
                where the log beside it is not: SQLite would make another, and throw the log away.
        """
        if self._opened is None and not _size(self._path) and _size(self._log):
            raise StorageUnavailable(
                f"{self._path} is missing or empty, but {self._log} is not: put the file back, or both from a copy"
            )
        if self._opened and _identity(self._path) != self._opened:
            raise StorageUnavailable(f"{self._path} was moved, removed or replaced while it was open")

    def check(self) -> None:
        """Checks that what is written now will be found; call it inside a transaction that holds the write lock.

        Raises:
            StorageUnavailable: the file is another one by now, or its log was removed, which would be there.
        """
        self.check_path()
        if not self._log.exists():
            raise StorageUnavailable(f"{self._log} was removed while it was open")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
