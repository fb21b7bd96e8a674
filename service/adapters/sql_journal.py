"""The journal in a SQL database, through SQLAlchemy Core: in a SQLite file, or on a PostgreSQL server.

One thread writes. It takes every entry that waits and commits them together, so that they share one flush to disk.
"""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from service.adapters.records import INTERACT, columns_of, encode_payload
from service.adapters.sql_dialects import open_dialect
from service.adapters.sql_identity import identify, identity_of
from service.adapters.sql_insert import Outcome, Write, insert_all
from service.adapters.sql_tables import (
    ANCESTOR,
    about_items,
    check_tables,
    facts,
    is_void,
    journal,
    make_tables,
    record_of,
)
from service.adapters.sql_waiting import Answer, Many, One, Request, answer_all, refuse_all, take
from service.domain import Entry, EraseUser, Record
from service.errors import StorageFull, StorageUnavailable

logger = logging.getLogger(__name__)

_PAGE = 500
_USERS = 10_000
_MAX_BATCH = 512
_MOST_CLOSING_S = 30


class FlushObserver(Protocol):
    """Is told of every flush, on the writer's thread."""

    def flushed(self, records: int, seconds: float) -> None:
        """Notes a batch that is on disk, and how long that took."""
        ...

    def refused(self, *, full: bool) -> None:
        """Notes a batch that could not be written."""
        ...


class SqlJournal:
    """A durable journal; an acknowledged record survives the process and the machine.

    Args:
        url: SQLAlchemy URL, ``sqlite:///PATH`` (missing directories of PATH are made) or ``postgresql+psycopg://…``.
        timeout_s: how long a write waits where another process holds the database.
        on_batch: is told how many records each commit held.
        observer: is told how each commit went.

    Raises:
        StorageUnavailable: the database cannot be opened or made.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 5.0,
        on_batch: Callable[[int], object] = lambda _: None,
        observer: FlushObserver | None = None,
    ) -> None:
        self._on_batch = on_batch
        self._observer = observer
        self._origin = uuid.uuid4().hex
        address = sa.make_url(url)
        self._dialect = open_dialect(address, timeout_s)
        self._engine = self._dialect.engine
        try:
            self._identity = self._prepare()
        except (SQLAlchemyError, StorageUnavailable) as exc:
            self._engine.dispose()
            where = address.render_as_string(hide_password=True)
            raise StorageUnavailable(f"the journal {where} cannot be opened: {_cause(exc)}") from exc
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        # Whether something that was erased may still stand in the database's files. At first it may: whoever erased
        # it was killed before those were overwritten.
        self._to_forget = True
        self._thread = threading.Thread(target=self._write_forever, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def identity(self) -> str:
        """A random name made with the journal."""
        return self._identity

    def common(self, identity: str) -> int | None:
        """Up to which ``seq`` the records here are those of another journal; None = all of them."""
        if identity == self._identity:
            return None
        shared = sa.select(facts.c.value).where(facts.c.name == ANCESTOR + identity)
        rows = self._fetch(shared)
        return int(rows[0].value) if rows else 0

    def append(self, entry: Entry, *, expected: int | None = None) -> Future[Record]:
        """Writes an entry; the future resolves once it is on disk."""
        request = One(self._write(entry, expected))
        self._ask(request)
        return request.done

    def append_all(self, entries: Sequence[tuple[Entry, int | None]]) -> Future[list[Answer]]:
        """Writes entries in their order, in one transaction; the future resolves once they are on disk."""
        request = Many([self._write(entry, expected) for entry, expected in entries])
        self._ask(request)
        return request.done

    def _write(self, entry: Entry, expected: int | None) -> Write:
        row = columns_of(entry)
        row["payload"], row["origin"] = encode_payload(entry), self._origin
        return Write(entry, row, expected)

    def _ask(self, request: Request) -> None:
        with self._closing:
            if not self._closed:
                self._queue.put(request)
                return
        request.answer([StorageUnavailable("the journal is closed")] * len(request.writes))

    def read(self, after: int = 0) -> Iterator[Record]:
        """All records with ``seq > after``, in order."""
        return self._pages(sa.select(journal), after)

    def read_others(self, after: int) -> Iterator[Record]:
        """The records with ``seq > after`` that others have written, in order."""
        return self._pages(sa.select(journal).where(journal.c.origin.is_distinct_from(self._origin)), after)

    def latest(self, after: int = 0) -> Iterator[Record]:
        """The latest record of every item, ordered by ``seq``."""
        return self._pages(sa.select(journal).where(about_items, ~is_void), after)

    def changed(self, after: int) -> dict[str, int]:
        """The items written since ``after``, with the ``seq`` of their latest records; reads an index only."""
        later = sa.select(journal.c.item_id, sa.func.max(journal.c.seq).label("seq")).where(
            about_items, journal.c.seq > after
        )
        return {row.item_id: int(row.seq) for row in self._fetch(later.group_by(journal.c.item_id))}

    def find(self, item_id: str) -> Record | None:
        """The latest record of an item."""
        mine = sa.select(journal).where(about_items, journal.c.item_id == item_id)
        rows = self._fetch(mine.order_by(journal.c.seq.desc()).limit(1))
        return record_of(rows[0]) if rows else None

    def history(self, user_id: str, limit: int) -> list[str]:
        """The items of a user's interactions, each once, by the latest with it, oldest first; the latest of them."""
        last = sa.func.max(journal.c.seq)
        mine = sa.select(journal.c.item_id).where(journal.c.user_id == user_id, journal.c.kind == INTERACT)
        latest = mine.group_by(journal.c.item_id).order_by(last.desc()).limit(limit)
        return [row.item_id for row in reversed(self._fetch(latest))]

    def users(self) -> Iterator[str]:
        """Everybody about whom there is a record, by id."""
        some = sa.select(journal.c.user_id).where(~about_items).distinct().order_by(journal.c.user_id).limit(_USERS)
        page = self._fetch(some)
        while page:
            yield from (row.user_id for row in page)
            page = self._fetch(some.where(journal.c.user_id > page[-1].user_id))

    def users_of_others(self, after: int) -> set[str]:
        """About whom others have written since."""
        theirs = journal.c.origin.is_distinct_from(self._origin)
        return {
            row.user_id
            for row in self._fetch(sa.select(journal.c.user_id).where(journal.c.seq > after, ~about_items, theirs))
        }

    def compact(self) -> int:
        """Removes item records that a later one has made void, some at a time, so that writes go on between."""
        removed = 0
        try:
            while found := self._remove_void():
                removed += found
        except (SQLAlchemyError, OverflowError) as exc:
            raise self._refusal(exc) from exc
        return removed

    def _forget_erased(self) -> None:
        """Overwrites what was erased, or has later writes try again."""
        try:
            done = self._dialect.forget_erased()
        except StorageUnavailable:  # the file was moved: the next write says so
            done = False
        if not done and not self._to_forget:
            logger.warning("journal_log_not_emptied", extra={"reason": "somebody reads; it is tried again"})
        self._to_forget = not done

    def _remove_void(self) -> int:
        void = sa.select(journal.c.seq).where(is_void)
        if not self._fetch(void.limit(1)):  # most often there is none, and looking takes no lock
            return 0
        with self._dialect.writing() as connection:
            some = void.order_by(journal.c.seq).limit(_PAGE)
            removed: int = connection.execute(journal.delete().where(journal.c.seq.in_(some))).rowcount
        return removed

    def last_seq(self) -> int:
        """The highest ``seq`` on disk; 0 for an empty journal."""
        return int(self._fetch(sa.select(sa.func.coalesce(sa.func.max(journal.c.seq), 0)))[0][0])

    def close(self) -> None:
        """Finishes pending writes and lets go of the database; more calls do nothing.

        Where the database does not answer, nobody waits for it for long: what is not acknowledged may be lost.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._thread.join(_MOST_CLOSING_S)
        if self._thread.is_alive():
            logger.error("journal_not_closed", extra={"reason": f"it does not answer for {_MOST_CLOSING_S} s"})
            return
        if self._to_forget:
            self._forget_erased()
        self._engine.dispose()

    def _prepare(self) -> str:
        with self._engine.connect() as connection:
            if check_tables(connection) and (known := identity_of(connection)):
                return known  # nothing is to be made: a journal that cannot be written now can be read
        with self._dialect.writing() as connection:
            make_tables(connection)
            return identify(connection)

    def _pages(self, query: sa.Select[Any], after: int) -> Iterator[Record]:
        # Page by page, so that no transaction stays open (and holds the WAL) while the caller works.
        while rows := self._fetch(query.where(journal.c.seq > after).order_by(journal.c.seq).limit(_PAGE)):
            yield from map(record_of, rows)
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
            batch, last = take(self._queue, _MAX_BATCH)
            if batch:
                self._commit(batch)
            if last:
                return

    def _commit(self, batch: Sequence[Request]) -> None:
        now, started = datetime.now(UTC), time.perf_counter()
        writes = [write for request in batch for write in request.writes]
        outcomes: list[Outcome] = []
        try:
            with self._dialect.writing() as connection:
                outcomes = insert_all(connection, self._dialect.insert_rows, writes, now)
        except Exception as exc:  # whatever it is: a dead writer would leave every later write waiting forever
            if not self._are_written(writes, outcomes):
                self._refuse(batch, len(writes), exc)
                return
            logger.warning("journal_commit_unconfirmed", exc_info=True, extra={"records": len(writes)})
        if self._observer:
            self._observer.flushed(len(writes), time.perf_counter() - started)
        if self._to_forget or any(isinstance(write.entry, EraseUser) for write in writes):
            self._forget_erased()
        self._on_batch(len(writes))
        answer_all(batch, outcomes)

    def _are_written(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> bool:
        """Whether a transaction that failed at its end is on disk after all: of its records there are all or none.

        Where nobody can tell, this process goes on under another name, and so reads as another's what may be there.
        """
        pairs = zip(writes, outcomes, strict=False)  # there are no outcomes where it failed before its end
        made = [(write, each.seq) for write, each in pairs if isinstance(each, Record) and not each.repeated]
        if not made:
            return False
        write, seq = made[-1]
        try:
            mine = sa.select(journal.c.seq).where(journal.c.seq == seq, journal.c.origin == write.row["origin"])
            return bool(self._fetch(mine))
        except StorageUnavailable:
            self._origin = uuid.uuid4().hex
            return False

    def _refuse(self, batch: Sequence[Request], records: int, cause: Exception) -> None:
        logger.error("journal_write_failed", exc_info=cause, extra={"records": records})
        if self._observer:
            self._observer.refused(full=self._is_full(cause))
        refuse_all(batch, lambda: self._refusal(cause))

    def _refusal(self, cause: Exception) -> StorageUnavailable:
        kind = StorageFull if self._is_full(cause) else StorageUnavailable
        refusal = kind(f"the journal cannot be written: {_cause(cause)}")
        refusal.__cause__ = cause
        return refusal

    def _is_full(self, exc: Exception) -> bool:
        return self._dialect.is_full(getattr(exc, "orig", exc))


def _cause(exc: BaseException) -> str:
    """The database's own words, without SQLAlchemy's statement and parameters (they hold features)."""
    return str(getattr(exc, "orig", None) or exc)
