"""The writing of many entries in one transaction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from service.adapters.records import INTERACT
from service.adapters.sql_tables import about_items, journal, record_of
from service.domain import Entry, EraseUser, Record, item_of
from service.errors import ItemMoved


@dataclass(slots=True)
class Write:
    """An entry on its way to disk."""

    entry: Entry
    row: dict[str, str | None]
    expected: int | None


Outcome = Record | ItemMoved
InsertRows = Callable[[sa.Connection, Sequence[Mapping[str, str | None]]], Sequence[int]]
"""Inserts rows of the journal, in their order, and gives the ``seq`` of each."""


def insert_all(
    connection: sa.Connection, insert_rows: InsertRows, batch: Sequence[Write], now: datetime
) -> list[Outcome]:
    """Inserts in order; runs of entries that do not depend on each other go together."""
    outcomes: list[Outcome] = []
    for run in _runs(batch):
        insert = _insert_special if _is_special(run[0]) else _insert_run
        outcomes += insert(connection, insert_rows, run, now)
    return outcomes


def _runs(batch: Sequence[Write]) -> Iterator[list[Write]]:
    """The batch in pieces: each a special entry alone, or others of which no two are about the same item."""
    run: list[Write] = []
    items: set[str] = set()
    for write in batch:
        item_id = item_of(write.entry)
        if run and (_is_special(write) or item_id in items):
            yield run
            run, items = [], set()
        run.append(write)
        if item_id is not None:
            items.add(item_id)
        if _is_special(write):
            yield run
            run, items = [], set()
    if run:
        yield run


def _is_special(write: Write) -> bool:
    return write.row["event_id"] is not None or isinstance(write.entry, EraseUser)


def _insert_run(
    connection: sa.Connection, insert_rows: InsertRows, run: Sequence[Write], now: datetime
) -> list[Outcome]:
    moved, at = _moved(connection, run), now.isoformat()
    rows = [{**write.row, "at": at} for place, write in enumerate(run) if place not in moved]
    seqs = iter(insert_rows(connection, rows) if rows else [])
    return [moved.get(place) or Record(next(seqs), now, write.entry) for place, write in enumerate(run)]


def _moved(connection: sa.Connection, run: Sequence[Write]) -> dict[int, ItemMoved]:
    """Those of a run, by place, whose item has another latest record than its writer expected."""
    expected = {place: write for place, write in enumerate(run) if write.expected is not None}
    names = [write.row["item_id"] for write in expected.values()]
    latest = sa.select(journal.c.item_id, sa.func.max(journal.c.seq).label("seq")).group_by(journal.c.item_id)
    found: dict[str | None, int] = {}
    if names:
        rows = connection.execute(latest.where(about_items, journal.c.item_id.in_(names)))
        found = {row.item_id: row.seq for row in rows}
    seqs = {place: found.get(write.row["item_id"], 0) for place, write in expected.items()}
    return {
        place: ItemMoved(str(write.row["item_id"]), seqs[place])
        for place, write in expected.items()
        if seqs[place] != write.expected
    }


def _insert_special(
    connection: sa.Connection, insert_rows: InsertRows, run: Sequence[Write], now: datetime
) -> list[Outcome]:
    (write,) = run
    event_id = write.row["event_id"]
    if event_id is not None:
        known = connection.execute(sa.select(journal).where(journal.c.event_id == event_id)).first()
        if known:
            return [record_of(known)._replace(repeated=True)]
    if isinstance(write.entry, EraseUser):
        mine = (journal.c.user_id == write.entry.user_id, journal.c.kind == INTERACT)
        connection.execute(journal.delete().where(*mine))
    (seq,) = insert_rows(connection, [{**write.row, "at": now.isoformat()}])
    return [Record(seq, now, write.entry)]
