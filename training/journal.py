"""Reads the journal of a service: what was written online. It is opened for reading alone, and may be in use meanwhile.

Items are read in one transaction, as they stood at one moment. Interactions are read page by page: a long transaction
would keep the service from overwriting what users erase.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from training.errors import JournalUnreadable
from training.journal_records import ForeignRecord, ItemRecord, read_item, read_times
from training.watermark import Watermark

_PAGE = 20_000
_TIMEOUT_S = 30.0
_COLUMNS = ("seq", "at", "kind", "item_id", "user_id", "payload")
_journal = sa.table("journal", *(sa.column(name) for name in _COLUMNS))
_facts = sa.table("journal_facts", sa.column("name"), sa.column("value"))


@dataclass(frozen=True, slots=True)
class OnlineInteractions:
    """What users did online, in the order of writing.

    Attributes:
        users: (n) ids.
        items: (n) ids; not all of them need be described anywhere.
        times: (n,) float64, seconds since 1970, by the client's clock where it told.
    """

    users: pa.ChunkedArray
    items: pa.ChunkedArray
    times: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)


class Snapshot:
    """A journal as it stands at one moment; to be used while its transaction is open.

    Attributes:
        mark: identity of the journal, and its last record.
        erased: ids of the users who had themselves erased.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.mark = Watermark(_identity(connection), _last_seq(connection))
        erased = sa.select(_journal.c.user_id).where(_journal.c.kind == "erase").distinct()
        self.erased = frozenset(connection.execute(erased).scalars())

    def items(self) -> Iterator[tuple[str, ItemRecord | None]]:
        """Each item with its latest record, in the order of these; None where that deletes it.

        Raises:
            ForeignRecord: a record is none of the service's.
        """
        about_items = _journal.c.user_id.is_(None)
        latest = sa.select(sa.func.max(_journal.c.seq)).where(about_items).group_by(_journal.c.item_id)
        query = sa.select(_journal).where(_journal.c.seq.in_(latest)).order_by(_journal.c.seq)
        for row in self._connection.execution_options(yield_per=500).execute(query):
            yield row.item_id, read_item(row.seq, row.kind, row.payload)


class Journal:
    """A journal that is open for reading; see :func:`open_journal`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The journal as it stands now, for as long as the block lasts."""
        with self._reading() as connection:
            yield Snapshot(connection)

    def interactions(self, last: int) -> OnlineInteractions:
        """The interactions up to record ``last``; those of erased users are in no journal.

        Raises:
            ForeignRecord: a record is none of the service's.
        """
        users, items, times = [], [], [np.empty(0)]
        for page in self._pages(last):
            seqs, at, user_ids, item_ids, payloads = zip(*page, strict=True)
            users.append(pa.array(user_ids, pa.string()))
            items.append(pa.array(item_ids, pa.string()))
            times.append(read_times(seqs, at, payloads))
        return OnlineInteractions(
            pa.chunked_array(users, pa.string()), pa.chunked_array(items, pa.string()), np.concatenate(times)
        )

    def _pages(self, last: int) -> Iterator[list[tuple[Any, ...]]]:
        columns = (_journal.c[name] for name in ("seq", "at", "user_id", "item_id", "payload"))
        query = sa.select(*columns).where(_journal.c.kind == "interact", _journal.c.seq <= last).order_by("seq")
        after = 0
        while True:
            with self._reading() as connection:
                page = [tuple(row) for row in connection.execute(query.where(_journal.c.seq > after).limit(_PAGE))]
            if not page:
                return
            yield page
            after = page[-1][0]

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")  # the driver by itself begins no transaction to read in
            yield connection


@contextmanager
def open_journal(url: str) -> Iterator[Journal]:
    """A journal to read, closed at the end of the block.

    Args:
        url: as the service has it, ``sqlite:///PATH`` or ``postgresql+psycopg://HOST/DATABASE``.

    Raises:
        JournalUnreadable: there is no journal, it cannot be read, or a record of it is none of the service's; also
            where that shows inside the block.
    """
    try:
        address = sa.make_url(url)
    except SQLAlchemyError as exc:
        raise JournalUnreadable("URL", "expected a URL sqlite:///PATH or postgresql+psycopg://HOST/DATABASE") from exc
    where = address.render_as_string(hide_password=True)
    engine = _engine(address, where)
    try:
        _check(engine, where)
        yield Journal(engine)
    except SQLAlchemyError as exc:
        raise JournalUnreadable(where, str(getattr(exc, "orig", None) or exc).strip()) from exc
    except ForeignRecord as exc:
        raise JournalUnreadable(where, str(exc)) from exc
    finally:
        engine.dispose()


def _engine(address: sa.URL, where: str) -> sa.Engine:
    kind = address.get_backend_name()
    if kind == "sqlite" and address.database and address.database != ":memory:":
        # mode=ro: a misspelt path is an error, not a new file, and nothing can be written whatever we do.
        path = sa.URL.create("sqlite", database=f"file:{quote(address.database)}", query={"mode": "ro", "uri": "true"})
        return sa.create_engine(path, hide_parameters=True, connect_args={"timeout": _TIMEOUT_S})
    if kind != "postgresql":
        raise JournalUnreadable(where, "expected a URL sqlite:///PATH or postgresql+psycopg://HOST/DATABASE")
    try:
        engine = sa.create_engine(address, hide_parameters=True, isolation_level="REPEATABLE READ")
    except ImportError as exc:
        raise JournalUnreadable(where, "the driver is not installed: pip install '.[postgres]'") from exc
    return engine.execution_options(postgresql_readonly=True)


def _check(engine: sa.Engine, where: str) -> None:
    """Checks that the database holds a journal whose columns are those we read."""
    inspector = sa.inspect(engine)
    for table in (_journal, _facts):
        if not inspector.has_table(table.name):
            raise JournalUnreadable(where, f"expected a table {table.name}, found none")
        found = {column["name"] for column in inspector.get_columns(table.name)}
        if missing := [name for name in table.c.keys() if name not in found]:  # noqa: SIM118 - it is no dict
            raise JournalUnreadable(where, f"expected a column {missing[0]} of the table {table.name}, found none")


def _identity(connection: sa.Connection) -> str:
    return str(connection.execute(sa.select(_facts.c.value).where(_facts.c.name == "identity")).scalar_one())


def _last_seq(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(_journal.c.seq), 0))).scalar_one())
