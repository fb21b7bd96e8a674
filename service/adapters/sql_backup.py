"""Copies of a journal that lives in a SQLite file: made while the service runs, put back while it does not."""

import contextlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from service.adapters.sql_dialects import check_is_there, file_of
from service.adapters.sql_tables import ANCESTOR
from service.errors import StorageUnavailable


def back_up(url: str, target: Path) -> int:
    """Copies the journal as it stands at one moment, writes going on meanwhile; returns its highest ``seq``.

    The copy is whole once it stands under its name.

    Raises:
        StorageUnavailable: the journal is no SQLite file or cannot be read, or the copy cannot be written.
    """
    source = _path_of(url)
    check_is_there(url)
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with _opened(source) as journal, _opened(part) as copy:
            # In one step, which keeps no writer waiting: between two, a write would have it begin again.
            journal.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, whatever becomes of it
            seq = _check(copy, part)
        _move_durably(part, target)
    except (OSError, sqlite3.Error) as exc:
        raise StorageUnavailable(f"the journal {source} cannot be copied to {target}: {exc}") from exc
    return seq


def restore(source: Path, url: str, *, replace: bool = False) -> int:
    """Puts a copy back in the journal's place; returns its highest ``seq``. No service may run on it.

    It gets a name of its own: numbers given to records after the copy was made will be given again, and what is cached
    under the old name would be taken for theirs.

    Raises:
        StorageUnavailable: the copy is damaged, there is a journal already and ``replace`` is not set, or somebody has
            it open: what a service writes into a file that is replaced is lost with it.
    """
    target = _path_of(url)
    if target.exists() and not replace:
        raise StorageUnavailable(f"there is a journal {target} already")
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        with _opened(part) as copy:
            seq = _check(copy, source)
            _rename(copy, seq)
        if target.exists():
            _close_for_good(target)
        for suffix in ("-wal", "-shm"):  # of a journal that is no longer there, or can no longer be read
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        _move_durably(part, target)
    except (OSError, sqlite3.Error) as exc:
        raise StorageUnavailable(f"{source} cannot be restored to {target}: {exc}") from exc
    return seq


def _close_for_good(journal: Path) -> None:
    """Makes one file of a journal that is to be replaced.

    So it is whole until it is replaced, whatever happens meanwhile, and nothing of it is left beside the other.

    Raises:
        StorageUnavailable: somebody has it open.
    """
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None, timeout=0)) as connection:
        try:
            connection.execute("PRAGMA journal_mode=DELETE")  # needs the journal for itself alone
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise StorageUnavailable(f"the journal {journal} is open elsewhere: stop the service first") from exc
        except sqlite3.DatabaseError:  # what is damaged cannot be made whole, only replaced
            return


def _rename(connection: sqlite3.Connection, seq: int) -> None:
    """Gives a journal another identity, and notes up to where it is the one it was copied from."""
    (identity,) = connection.execute("SELECT value FROM journal_facts WHERE name = 'identity'").fetchone()
    noted = "INSERT OR REPLACE INTO journal_facts (name, value) VALUES (?, ?)"
    connection.execute(noted, (ANCESTOR + identity, str(seq)))
    connection.execute(noted, ("identity", uuid.uuid4().hex))


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """The highest ``seq`` of a journal that is whole."""
    try:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
        (identity,) = connection.execute("SELECT count(*) FROM journal_facts WHERE name = 'identity'").fetchone()
        (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()
    except sqlite3.DatabaseError as exc:
        raise StorageUnavailable(f"{path} is no journal: {exc}") from exc
    if found != "ok" or not identity:
        raise StorageUnavailable(f"{path} is damaged: {found}")
    return int(seq)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def _move_durably(part: Path, target: Path) -> None:
    for path, move in ((part, True), (target.parent, False)):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if move:
            part.replace(target)


def _path_of(url: str) -> Path:
    path = file_of(url)
    if path is None:
        raise StorageUnavailable("a journal on a server is copied by the server's own tools, such as pg_dump")
    return path
