"""Copies of a journal that lives in a SQLite file: made while the service runs, put back while it does not."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from model_store.files import fsync
from service.adapters.sql_dialects import check_is_there, file_of
from service.adapters.sql_identity import renew
from service.errors import StorageUnavailable

_LOG = "-wal"
_COMPANIONS = (_LOG, "-shm", "-journal")  # of a database, beside it


def back_up(url: str, target: Path) -> int:
    """Copies the journal as it stands at one moment, writes going on meanwhile; returns its highest ``seq``.

    The copy is whole once it stands under its name.

    Raises:
        StorageUnavailable: the journal is no SQLite file or cannot be read, or the copy cannot be written, or would
            take the place of the journal.
    """
    source = _path_of(url)
    check_is_there(url)
    _check_apart(source, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(target) as part:
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

    A log beside the copy (``-wal``) is part of it: a journal's files may have been copied one by one. The journal gets
    a name of its own (``renew``).

    Raises:
        StorageUnavailable: the copy is damaged, there is a journal already and ``replace`` is not set, or somebody has
            it open: what a service writes into a file that is replaced is lost with it.
    """
    target = _path_of(url)
    _check_apart(target, source)
    if target.exists() and not replace:
        raise StorageUnavailable(f"there is a journal {target} already")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            _close_for_good(target)
        with _part_of(target) as part:
            for suffix in ("", _LOG):
                if not suffix or _beside(source, suffix).exists():
                    shutil.copyfile(_beside(source, suffix), _beside(part, suffix))
            with _opened(part) as copy:
                seq = _check(copy, source)
            renew(sa.URL.create("sqlite", database=str(part)))
            if target.exists():
                _close_for_good(target)  # it may have been opened meanwhile
            for suffix in _COMPANIONS:  # of a journal that is no longer there, or can no longer be read
                _beside(target, suffix).unlink(missing_ok=True)
            _move_durably(part, target)
    except (OSError, sqlite3.Error) as exc:
        raise StorageUnavailable(f"{source} cannot be restored to {target}: {exc}") from exc
    return seq


def rewrite(url: str) -> None:
    """Writes the journal's file anew: of erased rows old images may be left where pages were moved within it.

    The service may run; its writes wait meanwhile.

    Raises:
        StorageUnavailable: the journal is no SQLite file or cannot be written, or somebody reads it.
    """
    path = _path_of(url)
    check_is_there(url)
    try:
        with _opened(path) as journal:
            journal.execute("VACUUM")
            (busy, *_) = journal.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as exc:
        raise StorageUnavailable(f"the journal {path} cannot be written anew: {exc}") from exc
    if busy:
        raise StorageUnavailable(
            f"the journal {path} was written anew, but what it was is in its log: somebody reads it"
        )


def _check_apart(journal: Path, copy: Path) -> None:
    """Checks that a copy of a journal is neither the journal nor beside it under a name that is the database's.

    Raises:
        StorageUnavailable: it is.
    """
    mine = {_beside(place, suffix) for place in _places(journal) for suffix in ("", ".part", *_COMPANIONS)}
    if mine & {*_places(copy), *map(_part, _places(copy))}:
        raise StorageUnavailable(f"{copy} is the journal itself, or one of its files: name another file")


def _places(path: Path) -> list[Path]:
    """Where a file is: under its name, and behind it where that is a link."""
    return [path.parent.resolve() / path.name, path.resolve()]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _part(path: Path) -> Path:
    return _beside(path, ".part")


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """Where a file is made before it stands under its name; nothing is left of it where that fails."""
    part = _part(target)
    files = [_beside(part, suffix) for suffix in ("", *_COMPANIONS)]
    try:
        for file in files:
            file.unlink(missing_ok=True)
        yield part
    finally:
        for file in files:
            file.unlink(missing_ok=True)


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
    fsync(part)
    part.replace(target)
    fsync(target.parent)


def _path_of(url: str) -> Path:
    path = file_of(url)
    if path is None:
        raise StorageUnavailable("a journal on a server is copied by the server's own tools, such as pg_dump")
    return path
