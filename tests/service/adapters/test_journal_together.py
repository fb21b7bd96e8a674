"""Entries that a journal takes all at once."""

import sqlite3

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters.memory import MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem, Record
from service.errors import StorageUnavailable
from service.ports import Journal


def _put(item_id: str, title: str | None) -> PutItem:
    return PutItem(Item(item_id, title=title))


ITEMS = st.one_of(
    st.builds(_put, st.sampled_from("abc"), st.sampled_from(["T", None])),
    st.builds(DeleteItem, st.sampled_from("abc")),
)
USERS = st.one_of(
    st.builds(Interact, st.just("u"), st.sampled_from("abc"), event_id=st.sampled_from([None, "e1", "e2"])),
    st.builds(EraseUser, st.just("u")),
)


def told(outcomes: list[object]) -> list[object]:
    """Outcomes without their times, comparable."""
    return [
        (each.seq, each.entry, each.repeated) if isinstance(each, Record) else (type(each), str(each))
        for each in outcomes
    ]


@pytest.mark.parametrize("n", [0, 1, 2, 255, 256, 257, 1000])
def test_any_number_is_written_in_order(journal: Journal, n: int) -> None:
    """However many there are, each has the next number, and all can be read back as they were."""
    journal.append(DeleteItem("before")).result(5)
    entries = [DeleteItem(str(number)) for number in range(n)]

    outcomes = journal.append_all([(entry, None) for entry in entries]).result(10)

    assert told(outcomes) == [(seq, entry, False) for seq, entry in enumerate(entries, 2)]
    assert [record.entry for record in journal.read(after=1)] == entries
    assert journal.append(DeleteItem("after")).result(5).seq == n + 2


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.one_of(st.tuples(ITEMS, st.sampled_from([None, None, 0, 1, 2, 3])), st.tuples(USERS, st.none())), max_size=12
    )
)
def test_each_sees_those_before_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Entry, int | None]]
) -> None:
    """What comes of each, and what the journal holds then, is as if they had come one by one."""
    journal = SqlJournal(f"sqlite:///{tmp_path_factory.mktemp('j')}/journal.sqlite3")
    alone = MemoryJournal()

    outcomes = journal.append_all(steps).result(10)

    assert told(outcomes) == told(alone.append_all(steps).result(10))
    assert told(list(journal.read())) == told(list(alone.read()))
    journal.close()


def test_they_share_one_commit(url: str) -> None:
    """Together with what waits beside them, if anything does; nothing is written twice."""
    batches: list[int] = []
    journal = SqlJournal(url, on_batch=batches.append)

    journal.append_all([(DeleteItem(str(n)), None) for n in range(700)]).result(10)
    journal.close()

    assert batches == [700]


def test_events_are_looked_up_together(sql: SqlJournal) -> None:
    """A thousand of them, half of which are known, take a few statements and not one or two each."""
    events = [Interact("u", f"i{n}", event_id=f"e{n}") for n in range(1000)]
    sql.append_all([(event, None) for event in events[::2]]).result(10)
    statements: list[str] = []

    def note(*call: object) -> None:
        statements.append(str(call[2]))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        outcomes = sql.append_all([(event, None) for event in events]).result(10)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)

    assert [isinstance(each, Record) and each.repeated for each in outcomes] == [n % 2 == 0 for n in range(1000)]
    assert len(statements) < 50


def test_all_are_refused_where_the_disk_is_full(sql: SqlJournal) -> None:
    """None of them is on disk then, each has the error, and the next ones get the numbers that were not used."""
    sql.append(PutItem(Item("a"))).result(5)
    with sql._engine.connect() as connection:  # the only pooled connection, so the writer gets the same one
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    many = [(PutItem(Item(f"b{n}", title="x" * 1000)), None) for n in range(300)]
    outcomes = sql.append_all(many).result(10)
    with sql._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")

    assert all(isinstance(outcome, StorageUnavailable) for outcome in outcomes)
    assert [type(outcome).__name__ for outcome in outcomes] == ["StorageFull"] * 300
    assert [record.seq for record in sql.read()] == [1]
    assert sql.append(PutItem(Item("c"))).result(5).seq == 2


def test_numbers_are_never_given_twice(sql: SqlJournal, url: str) -> None:
    """Not even where the rows that had them are gone, as an erasure leaves them."""
    sql.append_all([(DeleteItem(str(n)), None) for n in range(5)]).result(5)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("DELETE FROM journal WHERE seq > 2")
    connection.close()

    outcomes = sql.append_all([(DeleteItem("a"), None), (DeleteItem("b"), None)]).result(5)

    assert [outcome.seq for outcome in outcomes if isinstance(outcome, Record)] == [6, 7]


def test_closed_journal_says_so_of_each(journal: Journal) -> None:
    """As errors among the outcomes, which are never raised."""
    journal.close()

    outcomes = journal.append_all([(DeleteItem("a"), None), (DeleteItem("b"), None)]).result(5)

    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 2
