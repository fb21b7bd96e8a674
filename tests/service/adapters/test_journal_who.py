"""Conformance of every Journal: about whom there are records, and about whom others wrote."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.adapters import sql_journal
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem
from service.errors import StorageUnavailable
from service.ports import Journal

ODD = ["A", "a", "a ", "ä", "\u00e4x", "Z", "_", "%", "0", "10", "9", "ß", "ss", "🎉", "\u200b", "x" * 256, ""]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three users make a page."""
    monkeypatch.setattr(sql_journal, "_USERS", 3)


@pytest.fixture(params=["sqlite", "postgres"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a journal that several can open."""
    is_file = request.param == "sqlite"
    return f"sqlite:///{tmp_path}/journal.sqlite3" if is_file else request.getfixturevalue("postgres_url")


@pytest.fixture
def two(shared_url: str) -> Iterator[list[Journal]]:
    """Two objects on one journal."""
    journals = [SqlJournal(shared_url), SqlJournal(shared_url)]
    yield list(journals)
    for journal in journals:
        journal.close()


def write(journal: Journal, *entries: Entry) -> list[int]:
    """The numbers of entries."""
    return [journal.append(entry).result(10).seq for entry in entries]


def item(item_id: str) -> PutItem:
    """An item."""
    return PutItem(Item(item_id, {"text": np.ones(2, np.float32)}))


def test_empty_journal_knows_nobody(journal: Journal) -> None:
    """Nor does one of items only."""
    before = list(journal.users())

    write(journal, item("a"), DeleteItem("a"))

    assert (before, list(journal.users()), journal.users_of_others(0)) == ([], [], set())


@pytest.mark.parametrize("number", range(8))
def test_users_come_once_each(journal: Journal, number: int) -> None:
    """However many pages they fill, and however often each of them did something."""
    names = [f"u{n}" for n in range(number)]
    write(journal, *(Interact(name, str(n)) for n in range(3) for name in names), item("u9"))

    assert sorted(journal.users()) == names


def test_users_of_any_name_come(journal: Journal) -> None:
    """Each under exactly its own: those that differ in case or by an invisible character are two."""
    write(journal, *(Interact(name, "a") for name in ODD))

    assert sorted(journal.users()) == sorted(ODD)


def test_erased_users_are_among_them(journal: Journal) -> None:
    """The erasure is a record about them, whether there was anything to erase or not; compaction leaves it."""
    write(journal, Interact("a", "x"), Interact("b", "x"), EraseUser("a"), EraseUser("c"), item("x"), item("x"))
    journal.compact()

    assert sorted(journal.users()) == ["a", "b", "c"]


def test_users_are_found_while_others_come(journal: Journal) -> None:
    """Everybody who was there when it began is named, and nobody twice, whatever is written between two pages."""
    write(journal, *(Interact(f"u{n}", "a") for n in range(10)))
    found = []

    for user_id in journal.users():
        found.append(user_id)
        if user_id.startswith("u"):
            write(journal, Interact(f"a{user_id}", "a"), Interact(f"z{user_id}", "b"), EraseUser(f"u{len(found)}"))

    assert len(set(found)) == len(found)
    assert {f"u{n}" for n in range(10)} <= set(found)


def test_own_records_are_not_of_others(journal: Journal) -> None:
    """Of an object's own writes none is told, erasures and repetitions included."""
    write(journal, *[Interact("a", "x", event_id="e")] * 2, EraseUser("b"), item("x"))

    assert journal.users_of_others(0) == set()


def test_others_write_about_users(two: list[Journal]) -> None:
    """Interactions and erasures since a record, of items none; each sees those of the other."""
    one, other = two
    write(one, Interact("a", "x"), EraseUser("b"), item("x"))
    last = one.last_seq()
    write(other, Interact("c", "x"), Interact("d", "y"), Interact("d", "z"), DeleteItem("x"))

    assert [one.users_of_others(after) for after in (0, last, last + 1, last + 3, last + 4)] == [
        {"c", "d"},
        {"c", "d"},
        {"d"},
        set(),
        set(),
    ]
    assert [other.users_of_others(after) for after in (0, 1, last)] == [{"a", "b"}, {"b"}, set()]


def test_interactions_that_others_erased_are_told_by_the_erasure(two: list[Journal]) -> None:
    """The interactions are gone, their user is named all the same."""
    one, other = two
    write(one, Interact("a", "x"))
    last = one.last_seq()

    write(other, Interact("a", "y"), EraseUser("a"))

    assert one.users_of_others(last) == {"a"}


def test_repetitions_are_records_of_who_wrote_first(two: list[Journal]) -> None:
    """Who repeats an event of another's has not written it."""
    one, other = two
    write(other, Interact("a", "x", event_id="e"))
    write(one, Interact("a", "x", event_id="e"))

    assert (one.users_of_others(0), other.users_of_others(0)) == ({"a"}, set())


def test_records_of_before_a_restart_are_of_others(shared_url: str) -> None:
    """Whatever the process knew of them is gone with it."""
    journal = SqlJournal(shared_url)
    write(journal, Interact("a", "x"))
    journal.close()
    journal = SqlJournal(shared_url)

    found = journal.users_of_others(0), list(journal.users())
    journal.close()

    assert found == ({"a"}, ["a"])


def test_closed_journal_names_nobody(sql: SqlJournal) -> None:
    """After close, neither can be read; nor the page after the one that was read before."""
    write(sql, *(Interact(f"u{n}", "a") for n in range(5)))
    users = sql.users()
    next(users)
    sql.close()

    for read in (lambda: list(users), lambda: list(sql.users()), lambda: sql.users_of_others(0)):
        with pytest.raises(StorageUnavailable, match="closed"):
            read()
