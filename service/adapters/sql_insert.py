"""The writing of many entries in one transaction."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime

import sqlalchemy as sa

from service.adapters.records import INTERACT
from service.adapters.sql_tables import about_items, insert, journal, record_of
from service.domain import Entry, EraseUser, Record, item_of
from service.errors import ItemMoved


@dataclass(slots=True)
class Write:
    """An entry on its way to disk."""

    entry: Entry
    row: dict[str, str | None]
    expected: int | None
    done: Future[Record] = field(default_factory=Future)


Outcome = Record | ItemMoved


def insert_all(connection: sa.Connection, batch: Sequence[Write], now: datetime) -> list[Outcome]:
    """Inserts in order; runs of entries that do not depend on each other go in one statement."""
    outcomes: list[Outcome] = []
    for run in _runs(batch):
        special = _is_special(run[0])
        outcomes += [_insert_special(connection, run[0], now)] if special else _insert_run(connection, run, now)
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


def _insert_run(connection: sa.Connection, run: Sequence[Write], now: datetime) -> list[Outcome]:
    moved = _moved(connection, run)
    rows = [{**write.row, "at": now.isoformat()} for place, write in enumerate(run) if place not in moved]
    seqs = iter(connection.execute(insert, rows).scalars().all() if rows else [])
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


def _insert_special(connection: sa.Connection, write: Write, now: datetime) -> Record:
    event_id = write.row["event_id"]
    if event_id is not None:
        known = connection.execute(sa.select(journal).where(journal.c.event_id == event_id)).first()
        if known:
            return replace(record_of(known), repeated=True)
    if isinstance(write.entry, EraseUser):
        mine = (journal.c.user_id == write.entry.user_id, journal.c.kind == INTERACT)
        connection.execute(journal.delete().where(*mine))
    seq = connection.execute(insert, {**write.row, "at": now.isoformat()}).scalar_one()
    return Record(seq, now, write.entry)
