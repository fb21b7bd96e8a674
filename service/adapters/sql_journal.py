"""The journal in a SQL database, through SQLAlchemy Core. SQLite for now; what is special to it stands in one function.

One thread writes. It takes every entry that waits and commits them together, so that they share one flush to disk.
"""

import logging
import queue
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from service.adapters.records import INTERACT, columns_of, decode_entry, encode_payload
from service.domain import Entry, EraseUser, Record
from service.errors import StorageFull, StorageUnavailable

logger = logging.getLogger(__name__)

_PAGE = 500
_MAX_BATCH = 512

_metadata = sa.MetaData()
_journal = sa.Table(
    "journal",
    _metadata,
    # SQLite numbers rows by AUTOINCREMENT (never twice) only where the column is a plain INTEGER.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    # Items have an item, erasures a user, interactions both. Each index holds one kind of them only.
    sa.Column("item_id", sa.String(256)),
    sa.Column("user_id", sa.String(256)),
    sa.Column("event_id", sa.String(256)),
    sa.Column("payload", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
_ABOUT_ITEMS = _journal.c.user_id.is_(None)
for _name, _columns, _where, _unique in (
    ("journal_by_item", ("item_id", "seq"), _ABOUT_ITEMS, False),
    ("journal_by_user", ("user_id", "seq"), ~_ABOUT_ITEMS, False),
    ("journal_by_event", ("event_id",), _journal.c.event_id.is_not(None), True),
):
    sa.Index(
        _name, *(_journal.c[name] for name in _columns), unique=_unique, sqlite_where=_where, postgresql_where=_where
    )
_INSERT = _journal.insert().returning(_journal.c.seq, sort_by_parameter_order=True)
_facts = sa.Table(
    "journal_facts",
    _metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)


@dataclass(slots=True)
class _Write:
    """An entry on its way to disk."""

    entry: Entry
    row: dict[str, str | None]
    done: Future[Record] = field(default_factory=Future)


class SqlJournal:
    """A durable journal; an acknowledged record survives the process and the machine.

    Args:
        url: SQLAlchemy URL, ``sqlite:///PATH``; missing directories of PATH are made.
        timeout_s: how long a write waits where another process holds the database.
        on_batch: is told how many records each commit held.

    Raises:
        StorageUnavailable: the database cannot be opened or made.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0, on_batch: Callable[[int], object] = lambda _: None) -> None:
        self._on_batch = on_batch
        self._engine = _open_sqlite(sa.make_url(url), timeout_s)
        try:
            self._identity = self._prepare()
        except (SQLAlchemyError, StorageUnavailable) as exc:
            self._engine.dispose()
            raise StorageUnavailable(f"the journal {url} cannot be opened: {_cause(exc)}") from exc
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write_forever, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def identity(self) -> str:
        """A random name made with the journal."""
        return self._identity

    def append(self, entry: Entry) -> Future[Record]:
        """Writes an entry; the future resolves once it is on disk."""
        row = {**columns_of(entry), "payload": encode_payload(entry)}
        write = _Write(entry, row)
        with self._closing:
            if self._closed:
                write.done.set_exception(StorageUnavailable("the journal is closed"))
            else:
                self._queue.put(write)
        return write.done

    def read(self, after: int = 0) -> Iterator[Record]:
        """All records with ``seq > after``, in order."""
        return self._pages(sa.select(_journal), after)

    def latest(self, after: int = 0) -> Iterator[Record]:
        """The latest record of every item, ordered by ``seq``."""
        later = _journal.alias("later")
        same = (later.c.user_id.is_(None), later.c.item_id == _journal.c.item_id)
        newer = sa.exists().where(*same, later.c.seq > _journal.c.seq)
        return self._pages(sa.select(_journal).where(_ABOUT_ITEMS, ~newer), after)

    def find(self, item_id: str) -> Record | None:
        """The latest record of an item."""
        mine = sa.select(_journal).where(_ABOUT_ITEMS, _journal.c.item_id == item_id)
        rows = self._fetch(mine.order_by(_journal.c.seq.desc()).limit(1))
        return _record(rows[0]) if rows else None

    def history(self, user_id: str, limit: int) -> list[str]:
        """The items of a user's latest interactions, oldest first."""
        mine = sa.select(_journal.c.item_id).where(_journal.c.user_id == user_id, _journal.c.kind == INTERACT)
        return [row.item_id for row in reversed(self._fetch(mine.order_by(_journal.c.seq.desc()).limit(limit)))]

    def last_seq(self) -> int:
        """The highest ``seq`` on disk; 0 for an empty journal."""
        return int(self._fetch(sa.select(sa.func.coalesce(sa.func.max(_journal.c.seq), 0)))[0][0])

    def close(self) -> None:
        """Finishes pending writes and lets go of the database; more calls do nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._engine.dispose()

    def _prepare(self) -> str:
        with self._engine.begin() as connection:
            if not _fits(connection):
                raise StorageUnavailable("it was made by an older version, which knew no interactions")
            for table in _metadata.sorted_tables:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))
            known = sa.select(_facts.c.value).where(_facts.c.name == "identity")
            if connection.execute(known).first() is None:
                connection.execute(_facts.insert().values(name="identity", value=uuid.uuid4().hex))
            return str(connection.execute(known).scalar_one())

    def _forget_log(self) -> None:
        """Empties the write-ahead log, which still holds what was erased from the tables."""
        try:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        except SQLAlchemyError:  # the erasure itself is on disk; the log is emptied by the next checkpoint
            logger.warning("journal_log_not_emptied", exc_info=True)

    def _pages(self, query: sa.Select[Any], after: int) -> Iterator[Record]:
        # Page by page, so that no transaction stays open (and holds the WAL) while the caller works.
        while rows := self._fetch(query.where(_journal.c.seq > after).order_by(_journal.c.seq).limit(_PAGE)):
            yield from map(_record, rows)
            after = rows[-1].seq

    def _fetch(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        if self._closed:
            raise StorageUnavailable("the journal is closed")
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except (SQLAlchemyError, OverflowError) as exc:
            raise StorageUnavailable(f"the journal cannot be read: {_cause(exc)}") from exc

    def _write_forever(self) -> None:
        while True:
            batch, last = self._take()
            if batch:
                self._commit(batch)
            if last:
                return

    def _take(self) -> tuple[list[_Write], bool]:
        """Waits for one write, then takes all that wait with it; True once the journal closes."""
        batch: list[_Write] = []
        write = self._queue.get()
        while write is not None:
            if write.done.set_running_or_notify_cancel():
                batch.append(write)
            if len(batch) >= _MAX_BATCH:
                return batch, False
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: Sequence[_Write]) -> None:
        now = datetime.now(UTC)
        try:
            with self._engine.begin() as connection:
                records = _insert_all(connection, batch, now)
        except Exception as exc:  # whatever it is: a dead writer would leave every later write waiting forever
            logger.exception("journal_write_failed", extra={"records": len(batch)})
            for write in batch:
                refusal = _refusal(exc)
                refusal.__cause__ = exc
                write.done.set_exception(refusal)
            return
        if any(isinstance(write.entry, EraseUser) for write in batch):
            self._forget_log()
        self._on_batch(len(batch))
        for write, record in zip(batch, records, strict=True):
            write.done.set_result(record)


def _fits(connection: sa.Connection) -> bool:
    """Whether the database has no journal yet, or one with our columns."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(_journal.name):
        return True
    return {column.name for column in _journal.c} <= {column["name"] for column in inspector.get_columns(_journal.name)}


def _insert_all(connection: sa.Connection, batch: Sequence[_Write], now: datetime) -> list[Record]:
    """Inserts in order; runs of entries that need no look at the table go in one statement."""
    records: list[Record] = []
    for plain, run in groupby(batch, key=_is_plain):
        writes = list(run)
        if plain:
            rows = [{**write.row, "at": now.isoformat()} for write in writes]
            seqs = connection.execute(_INSERT, rows).scalars().all()
            records += [Record(seq, now, write.entry) for seq, write in zip(seqs, writes, strict=True)]
        else:
            records += [_insert_special(connection, write, now) for write in writes]
    return records


def _is_plain(write: _Write) -> bool:
    return write.row["event_id"] is None and not isinstance(write.entry, EraseUser)


def _insert_special(connection: sa.Connection, write: _Write, now: datetime) -> Record:
    event_id = write.row["event_id"]
    if event_id is not None:
        known = connection.execute(sa.select(_journal).where(_journal.c.event_id == event_id)).first()
        if known:
            return replace(_record(known), repeated=True)
    if isinstance(write.entry, EraseUser):
        mine = (_journal.c.user_id == write.entry.user_id, _journal.c.kind == INTERACT)
        connection.execute(_journal.delete().where(*mine))
    seq = connection.execute(_INSERT, {**write.row, "at": now.isoformat()}).scalar_one()
    return Record(seq, now, write.entry)


def _record(row: sa.Row[Any]) -> Record:
    columns = {"kind": row.kind, "item_id": row.item_id, "user_id": row.user_id, "event_id": row.event_id}
    return Record(row.seq, _time(row.seq, row.at), decode_entry(row.seq, columns, row.payload))


def _open_sqlite(url: sa.URL, timeout_s: float) -> sa.Engine:
    """An engine whose commits are on disk when they return; makes the directory of the file."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise StorageUnavailable("expected a journal URL sqlite:///PATH")
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageUnavailable(f"the directory of the journal cannot be made: {exc}") from exc
    engine = sa.create_engine(url, connect_args={"timeout": timeout_s})

    def prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten, not only unlinked
        cursor.close()

    sa.event.listen(engine, "connect", prepare)
    return engine


def _time(seq: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError) as exc:
        raise StorageUnavailable(f"journal record {seq} is unreadable: {exc!r}") from exc


def _refusal(exc: Exception) -> StorageUnavailable:
    code = getattr(getattr(exc, "orig", None), "sqlite_errorcode", None)
    kind = StorageFull if code == sqlite3.SQLITE_FULL else StorageUnavailable
    return kind(f"the journal cannot be written: {_cause(exc)}")


def _cause(exc: BaseException) -> str:
    """The database's own words, without SQLAlchemy's statement and parameters (they hold features)."""
    return str(getattr(exc, "orig", None) or exc)
