"""What is special to each database the journal can live in."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from service.adapters.sql_file import DatabaseFile
from service.adapters.sql_tables import insert, journal
from service.errors import StorageUnavailable

logger = logging.getLogger(__name__)

_LOCK = 0x13_5EC  # names the journal among the advisory locks of its database
_DISK_FULL = "53100"  # PostgreSQL's SQLSTATE
_COLUMNS = [column.name for column in journal.c if column.name != "seq"]
_values_of = itemgetter(*_COLUMNS)
_INSERT = f"INSERT INTO journal (seq, {', '.join(_COLUMNS)}) VALUES "  # noqa: S608 - our own names
_PLACES = f"({', '.join('?' * (1 + len(_COLUMNS)))})"
_MOST_ROWS = 256  # of a statement
_LEAST_STATEMENT_MS = 30_000  # that one may take at a server: many rows on a slow disk
_GRACE_MS = 2_000  # until a server that has not ended one by then counts as lost
_MOST_BUSY_MS = 50  # that writers wait for readers before the log is emptied
_LAST_SEQ = """
SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0),
           coalesce((SELECT max(seq) FROM journal), 0))
"""


class Dialect(Protocol):
    """A database."""

    engine: sa.Engine

    def writing(self) -> "_Transaction":
        """A transaction, durable once it is left, during which nobody else writes the journal."""
        ...

    def insert_rows(self, connection: sa.Connection, rows: Sequence[Mapping[str, str | None]]) -> Sequence[int]:
        """Inserts rows of the journal, in their order and inside ``writing()``; gives the ``seq`` of each."""
        ...

    def forget_erased(self) -> bool:
        """Overwrites what was erased from the tables where it still stands elsewhere in the database's files.

        Returns:
            Whether that could be done by now: a reader may need what is there.
        """
        ...

    def is_full(self, error: BaseException) -> bool:
        """Whether the database's own error says that there is no room left."""
        ...


_Transaction = Any  # a context manager that gives a sqlalchemy.Connection


def open_dialect(url: sa.URL, timeout_s: float) -> Dialect:
    """The dialect of a URL; connects when it is first used.

    Raises:
        StorageUnavailable: the URL names no database of a known kind, or its directory cannot be made.
    """
    if url.get_backend_name() == "postgresql":
        return Postgres(url, timeout_s)
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        return Sqlite(url, timeout_s)
    raise StorageUnavailable("expected a journal URL sqlite:///PATH or postgresql+psycopg://HOST/DATABASE")


def file_of(url: sa.URL | str) -> Path | None:
    """The file a journal lives in; None where it lives on a server."""
    address = sa.make_url(url)
    return Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None


def check_is_there(url: sa.URL | str) -> None:
    """Checks that a journal that lives in a file is there: to open one that is not would make it.

    Raises:
        StorageUnavailable: it is not.
    """
    file = file_of(url)
    if file and not file.is_file():
        raise StorageUnavailable(f"there is no journal {file}")


class Sqlite:
    """A file; its commits are on disk when they return. Processes on the same machine may share it."""

    def __init__(self, url: sa.URL, timeout_s: float) -> None:
        path = Path(str(url.database))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageUnavailable(f"the directory of the journal cannot be made: {exc}") from exc
        self._file = DatabaseFile(path)
        self.engine = sa.create_engine(url, hide_parameters=True, connect_args={"timeout": timeout_s})

        def prepare(connection: Any, _: object) -> None:
            connection.isolation_level = None  # transactions begin where we say so, not where the driver thinks
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten, not only unlinked
            cursor.close()
            self._file.opened()

        def look_first(*_: object) -> None:
            self._file.check_path()  # not to open, and so make, a file where there was another
            self._file.make()

        sa.event.listen(self.engine, "do_connect", look_first)
        sa.event.listen(self.engine, "connect", prepare)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its beginning, so that what it reads is what it writes on."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                self._file.check()
                yield connection
            except BaseException:
                _roll_back(connection)
                raise
            connection.exec_driver_sql("COMMIT")

    def insert_rows(self, connection: sa.Connection, rows: Sequence[Mapping[str, str | None]]) -> Sequence[int]:
        """Inserts rows of the journal in few statements, each of many rows.

        Whatever a statement gives back, and every statement of one row, has Python's lock given away and got again for
        each row, which under load takes longer than all the rest. So the numbers are given here, as AUTOINCREMENT
        would: nobody else can write meanwhile.
        """
        (last,) = connection.exec_driver_sql(_LAST_SEQ).one()
        start = 0
        while start < len(rows):
            # A power of two: there are few such statements, so that those that were prepared are found again.
            size = min(_MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
            values: list[Any] = []
            for seq, row in enumerate(rows[start : start + size], last + start + 1):
                values.append(seq)
                values += _values_of(row)
            connection.exec_driver_sql(_INSERT + ", ".join([_PLACES] * size), tuple(values))
            start += size
        return range(last + 1, last + 1 + len(rows))

    def forget_erased(self) -> bool:
        """Empties the write-ahead log, if nobody reads: all writes wait for this one."""
        try:
            with self.engine.connect() as connection:
                usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {_MOST_BUSY_MS}")
                try:
                    busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one()
                finally:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual}")
        except SQLAlchemyError:
            logger.debug("journal_log_not_emptied", exc_info=True)
            return False
        return not busy

    def is_full(self, error: BaseException) -> bool:
        """Whether the disk or the file's own limit is reached."""
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


class Postgres:
    """A server, for several processes on several machines.

    A server that says nothing, of whatever statement, is given up for lost a little after it should have ended it.
    """

    def __init__(self, url: sa.URL, timeout_s: float) -> None:
        milliseconds = max(1, int(1000 * timeout_s))
        statement_ms = max(milliseconds, _LEAST_STATEMENT_MS)
        silence_ms = statement_ms + _GRACE_MS
        options = f"-c lock_timeout={milliseconds} -c statement_timeout={statement_ms}"
        try:
            from service.adapters.sql_silence import Impatient  # noqa: PLC0415 - the driver is an extra

            self.engine = sa.create_engine(
                url,
                hide_parameters=True,  # they hold features and names of users, and would stand in logs
                pool_pre_ping=True,  # a server that was restarted costs nobody a request
                isolation_level="AUTOCOMMIT",
                connect_args={
                    "connect_timeout": max(2, round(timeout_s)),
                    "options": options,
                    "tcp_user_timeout": silence_ms,  # what is sent and not even received
                },
            )
        except ImportError as exc:
            raise StorageUnavailable("the driver is not installed: pip install '.[postgres]'") from exc

        def connect(_: object, __: object, arguments: Sequence[Any], named: Mapping[str, Any]) -> Impatient:
            connection = Impatient.connect(*arguments, **named)
            connection.longest_s = silence_ms / 1000
            return connection

        sa.event.listen(self.engine, "do_connect", connect)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction under the journal's lock, so that records become visible in the order of their numbers.

        Otherwise a reader could see a record and never come back for one with a smaller number that was committed
        later.
        """
        with (
            self.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            connection.begin(),
        ):
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield connection

    def insert_rows(self, connection: sa.Connection, rows: Sequence[Mapping[str, str | None]]) -> Sequence[int]:
        """Inserts rows of the journal in one statement."""
        return connection.execute(insert, list(rows)).scalars().all()

    def forget_erased(self) -> bool:
        """Nothing: the server's own vacuum reclaims what was erased."""
        return True

    def is_full(self, error: BaseException) -> bool:
        """Whether the server's disk is full."""
        return getattr(error, "sqlstate", None) == _DISK_FULL


def _roll_back(connection: sa.Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK")
    except SQLAlchemyError:  # SQLite rolls back by itself on some errors: then there is no transaction left
        logger.debug("journal_rollback_failed", exc_info=True)
