"""The journal's tables, and rows as records."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.adapters.records import decode_entry
from service.domain import Record
from service.errors import StorageUnavailable

NAME_LENGTH = 80  # of a fact; 40 in tables of old, which only PostgreSQL minds
metadata = sa.MetaData()
journal = sa.Table(
    "journal",
    metadata,
    # SQLite numbers rows by AUTOINCREMENT (never twice) only where the column is a plain INTEGER.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    # Items have an item, erasures a user, interactions both. Each index holds one kind of them only.
    sa.Column("item_id", sa.String(256)),
    sa.Column("user_id", sa.String(256)),
    sa.Column("event_id", sa.String(256)),
    sa.Column("origin", sa.String(32)),  # of the object that wrote it; journals of old have rows without
    sa.Column("payload", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
about_items = journal.c.user_id.is_(None)
for _name, _columns, _where, _unique in (
    ("journal_by_item", ("item_id", "seq"), about_items, False),
    ("journal_by_user", ("user_id", "seq"), ~about_items, False),
    ("journal_by_event", ("event_id",), journal.c.event_id.is_not(None), True),
):
    sa.Index(
        _name, *(journal.c[name] for name in _columns), unique=_unique, sqlite_where=_where, postgresql_where=_where
    )
_later = journal.alias("later")
is_void = about_items & sa.exists().where(
    _later.c.user_id.is_(None), _later.c.item_id == journal.c.item_id, _later.c.seq > journal.c.seq
)
"""Whether a record is about an item that has a later one."""
facts = sa.Table(
    "journal_facts",
    metadata,
    sa.Column("name", sa.String(NAME_LENGTH), primary_key=True),
    sa.Column("value", sa.String(200), nullable=False),
)
ANCESTOR = "ancestor:"  # then the identity of the journal this one was copied from; the value is the last common seq
insert = journal.insert().returning(journal.c.seq, sort_by_parameter_order=True)


def make_tables(connection: sa.Connection) -> None:
    """Makes what is not there yet."""
    for table in metadata.sorted_tables:
        connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
    if "origin" not in _columns_of(connection):
        connection.exec_driver_sql("ALTER TABLE journal ADD COLUMN origin VARCHAR(32)")
    for table in metadata.sorted_tables:
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def check_tables(connection: sa.Connection) -> bool:
    """Whether the database holds a whole journal.

    Raises:
        StorageUnavailable: it holds one with other columns.
    """
    inspector = sa.inspect(connection)
    if not inspector.has_table(journal.name):
        return False
    missing = {column.name for column in journal.c} - _columns_of(connection)
    if missing - {"origin"}:
        raise StorageUnavailable("it was made by an older version, which knew no interactions")
    indexes = {index["name"] for index in inspector.get_indexes(journal.name)}
    whole = {index.name for index in journal.indexes} <= indexes and inspector.has_table(facts.name)
    return whole and not missing


def _columns_of(connection: sa.Connection) -> set[str]:
    return {column["name"] for column in sa.inspect(connection).get_columns(journal.name)}


def record_of(row: sa.Row[Any]) -> Record:
    """The record of a row.

    Raises:
        StorageUnavailable: the row is not one of ours; names its ``seq``.
    """
    columns = {"kind": row.kind, "item_id": row.item_id, "user_id": row.user_id, "event_id": row.event_id}
    return Record(row.seq, _time(row.seq, row.at), decode_entry(row.seq, columns, row.payload))


def _time(seq: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (ValueError, TypeError) as exc:
        raise StorageUnavailable(f"journal record {seq} is unreadable: {exc!r}") from exc
