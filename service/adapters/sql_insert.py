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
        if isinstance(run[0].entry, EraseUser):
            _erase(connection, run[0].entry)
        outcomes += _insert_run(connection, insert_rows, run, now)
    return outcomes


def _runs(batch: Sequence[Write]) -> Iterator[list[Write]]:
    """The batch in pieces: each an erasure alone, or others of which no two are about the same item or event."""
    run: list[Write] = []
    items: set[str] = set()
    events: set[str] = set()
    for write in batch:
        item_id, event_id, alone = item_of(write.entry), write.row["event_id"], isinstance(write.entry, EraseUser)
        if run and (alone or item_id in items or event_id in events):
            yield run
            run, items, events = [], set(), set()
        run.append(write)
        if item_id is not None:
            items.add(item_id)
        if event_id is not None:
            events.add(event_id)
        if alone:
            yield run
            run, items, events = [], set(), set()
    if run:
        yield run


def _insert_run(
    connection: sa.Connection, insert_rows: InsertRows, run: Sequence[Write], now: datetime
) -> list[Outcome]:
    settled: dict[int, Outcome] = {**_moved(connection, run), **_repeated(connection, run)}
    at = now.isoformat()
    rows = [{**write.row, "at": at} for place, write in enumerate(run) if place not in settled]
    seqs = iter(insert_rows(connection, rows) if rows else [])
    return [settled.get(place) or Record(next(seqs), now, write.entry) for place, write in enumerate(run)]


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


def _repeated(connection: sa.Connection, run: Sequence[Write]) -> dict[int, Record]:
    """Those of a run, by place, whose event is known already: their first records."""
    places = {event_id: place for place, write in enumerate(run) if (event_id := write.row["event_id"]) is not None}
    if not places:
        return {}
    known = connection.execute(sa.select(journal).where(journal.c.event_id.in_(places)))
    return {places[row.event_id]: record_of(row)._replace(repeated=True) for row in known}


def _erase(connection: sa.Connection, entry: EraseUser) -> None:
    connection.execute(journal.delete().where(journal.c.user_id == entry.user_id, journal.c.kind == INTERACT))
