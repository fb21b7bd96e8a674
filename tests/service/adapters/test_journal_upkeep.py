"""Making journals smaller, copying them, putting copies back."""

import sqlite3
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters.memory import MemoryJournal
from service.adapters.sql_backup import back_up, restore, rewrite
from service.adapters.sql_identity import renew
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem, Record
from service.errors import ItemMoved, StorageUnavailable
from service.ports import Journal


def item(item_id: str, value: float = 1.0) -> PutItem:
    """A put of an item with one modality."""
    return PutItem(Item(item_id, {"text": np.full(3, value, np.float32)}))


def shown(journal: Journal) -> list[tuple[int, str]]:
    """The latest records, comparable."""
    return [(record.seq, repr(record.entry)) for record in journal.latest()]


def write(journal: Journal, *entries: Entry) -> list[int]:
    """Appends; the numbers."""
    return [journal.append(entry).result(10).seq for entry in entries]


ENTRIES = st.one_of(
    st.builds(item, st.sampled_from("abc"), st.floats(-1, 1)),
    st.builds(DeleteItem, st.sampled_from("abc")),
    st.builds(Interact, st.sampled_from("uv"), st.sampled_from("abc")),
    st.builds(EraseUser, st.sampled_from("uv")),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=st.lists(ENTRIES, max_size=12))
def test_compaction_changes_nothing_that_counts(tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]) -> None:
    """Latest records, histories, what is found and the last number stay; void records go; numbers go on."""
    journal = SqlJournal(f"sqlite:///{tmp_path_factory.mktemp('j')}/journal.sqlite3")
    write(journal, *entries)
    before = shown(journal), [journal.history(user, 99) for user in "uv"], journal.last_seq()

    removed = journal.compact()

    assert (shown(journal), [journal.history(user, 99) for user in "uv"], journal.last_seq()) == before
    about_items = [e for e in entries if isinstance(e, PutItem | DeleteItem)]
    assert removed == len(about_items) - len(before[0])
    assert journal.compact() == 0
    assert write(journal, item("new")) == [len(entries) + 1]
    journal.close()


def test_every_journal_can_be_compacted(journal: Journal) -> None:
    """Each implementation removes what a later record made void, over several pages."""
    write(journal, item("kept"), DeleteItem("gone"), Interact("u", "many"))
    last = write(journal, *(item("many", n) for n in range(1200)))[-1]

    assert journal.compact() == 1199

    assert [record.seq for record in journal.latest()] == [1, 2, last]
    assert journal.history("u", 5) == ["many"]


def test_writes_go_on_while_it_is_compacted(url: str) -> None:
    """None is refused, and none is lost."""
    sql = SqlJournal(url, timeout_s=30)  # on a busy machine a flush may take long
    write(sql, *(item("many", n) for n in range(1500)))
    compacting = threading.Thread(target=sql.compact)
    compacting.start()

    seqs = write(sql, *(item(f"new {n}") for n in range(50)))

    compacting.join()
    assert {record.seq for record in sql.latest()} >= set(seqs)
    sql.close()


def test_expected_records_are_checked(journal: Journal) -> None:
    """An entry is written only if the item's latest record is the one its writer knows; 0 = there is none."""
    assert journal.append(item("a"), expected=0).result(5).seq == 1
    with pytest.raises(ItemMoved) as moved:
        journal.append(item("a"), expected=0).result(5)
    assert (moved.value.item_id, moved.value.seq) == ("a", 1)
    assert journal.append(DeleteItem("a"), expected=1).result(5).seq == 2
    with pytest.raises(ItemMoved):
        journal.append(DeleteItem("b"), expected=2).result(5)
    assert journal.last_seq() == 2


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.one_of(st.none(), st.integers(0, 9))),
        min_size=1,
        max_size=9,
    )
)
def test_expectations_hold_also_among_those_that_share_a_commit(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool, int | None]]
) -> None:
    """Each sees the ones before it, as if they had come one by one."""
    url = f"sqlite:///{tmp_path_factory.mktemp('j')}/journal.sqlite3"
    journal, alone = SqlJournal(url), MemoryJournal()
    blocker = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # so that all but the first wait for the same commit
    entries = [(item(name) if put else DeleteItem(name), expected) for name, put, expected in steps]
    futures = [journal.append(entry, expected=expected) for entry, expected in entries]
    blocker.execute("COMMIT")
    blocker.close()

    def outcome(future: Future[Record]) -> tuple[str, int]:
        failed = future.exception(10)
        return ("moved", failed.seq) if isinstance(failed, ItemMoved) else ("written", future.result().seq)

    found = [outcome(future) for future in futures]
    assert found == [outcome(alone.append(entry, expected=expected)) for entry, expected in entries]
    journal.close()


def test_others_are_told_from_oneself(url: str) -> None:
    """Each of two that share a database reads what the other wrote."""
    one, other = SqlJournal(url), SqlJournal(url)
    write(one, item("a"))
    write(other, item("b"), Interact("u", "b"))
    write(one, DeleteItem("a"))

    assert [record.seq for record in one.read_others(0)] == [2, 3]
    assert [record.seq for record in other.read_others(1)] == [4]
    assert one.identity == other.identity
    one.close()
    other.close()


def test_journals_of_old_are_taken_over(url: str) -> None:
    """One whose rows do not say who wrote them gets the column; its records are there."""
    old = SqlJournal(url)
    write(old, item("a"))
    old.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
        database.execute("ALTER TABLE journal DROP COLUMN origin")
    database.close()

    journal = SqlJournal(url)

    assert [record.seq for record in journal.read_others(0)] == [1]
    assert write(journal, item("b")) == [2]
    journal.close()


def test_copies_hold_everything_up_to_one_moment(sql: SqlJournal, url: str, tmp_path: Path) -> None:
    """A copy made amid writing opens as a journal with the first so many records, all of them whole.

    However large it is, it is ready while the writing goes on.
    """
    write(sql, *(item(f"old {n}") for n in range(20)))
    write(sql, PutItem(Item("large", {"text": np.zeros(3_000_000, np.float32)})))
    stop, given_up = threading.Event(), time.monotonic() + 30

    def go_on() -> None:
        n = 0
        while not stop.is_set() and time.monotonic() < given_up:
            write(sql, item(f"new {n}"))
            n += 1

    writing = threading.Thread(target=go_on)
    writing.start()
    seq = back_up(url, tmp_path / "copies" / "copy")
    going_on = writing.is_alive()
    stop.set()
    writing.join()

    assert going_on
    assert seq >= 21
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == ["copy"]
    copy = SqlJournal(f"sqlite:///{tmp_path}/copies/copy")
    assert [record.seq for record in copy.read()] == list(range(1, seq + 1))
    copy.close()


def test_restored_journals_go_by_another_name(url: str, tmp_path: Path) -> None:
    """All is as it was copied, what was written since is gone, and caches cannot mistake the one for the other."""
    journal = SqlJournal(url)
    write(journal, item("a"), DeleteItem("b"))
    before, identity = shown(journal), journal.identity
    back_up(url, tmp_path / "copy")
    write(journal, item("late"))
    journal.close()

    with pytest.raises(StorageUnavailable, match="already"):
        restore(tmp_path / "copy", url)
    assert restore(tmp_path / "copy", url, replace=True) == 2

    restored = SqlJournal(url)
    assert shown(restored) == before
    assert restored.identity != identity
    assert [restored.common(name) for name in (restored.identity, identity, "stranger")] == [None, 2, 0]
    assert write(restored, item("c")) == [3]
    restored.close()


def test_journals_that_are_open_are_not_replaced(url: str, tmp_path: Path) -> None:
    """What a service wrote from then on would be answered for and lost; also where it has been silent for long."""
    journal = SqlJournal(url)
    write(journal, item("a"))
    back_up(url, tmp_path / "copy")
    write(journal, item("late"))
    before = shown(journal)

    with pytest.raises(StorageUnavailable, match="open elsewhere: stop the service first"):
        restore(tmp_path / "copy", url, replace=True)

    assert write(journal, item("later")) == [3]
    journal.close()
    again = SqlJournal(url)
    assert shown(again)[: len(before)] == before
    assert len(shown(again)) == 3
    again.close()


@pytest.mark.parametrize("left", ["nothing", "text", "a log"])
def test_journals_that_are_damaged_can_be_replaced(url: str, tmp_path: Path, left: str) -> None:
    """Whatever is left of them is not left beside the copy."""
    journal = SqlJournal(url)
    write(journal, item("a"))
    back_up(url, tmp_path / "copy")
    before = shown(journal)
    journal.close()
    path = Path(url.removeprefix("sqlite:///"))
    path.write_bytes({"nothing": b"", "text": b"no database at all", "a log": b"x" * 5000}[left])
    if left == "a log":
        path.with_name(f"{path.name}-wal").write_bytes(b"y" * 5000)

    assert restore(tmp_path / "copy", url, replace=True) == 1

    again = SqlJournal(url)
    assert shown(again) == before
    again.close()


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "other"])
def test_damaged_copies_are_refused(url: str, tmp_path: Path, damage: str) -> None:
    """The journal that is there stays untouched."""
    journal = SqlJournal(url)
    write(journal, *(item(f"a{n}") for n in range(300)))
    back_up(url, tmp_path / "copy")
    before = shown(journal)
    journal.close()
    copy = tmp_path / "copy"
    data = copy.read_bytes()
    copy.unlink()
    if damage == "other":
        sqlite3.connect(copy).execute("CREATE TABLE t (x)").connection.close()
    elif damage != "missing":
        copy.write_bytes({"empty": b"", "text": b"no database", "cut": data[: len(data) // 2]}[damage])

    with pytest.raises(StorageUnavailable):
        restore(copy, url, replace=True)

    again = SqlJournal(url)
    assert shown(again) == before
    again.close()


def test_servers_have_tools_of_their_own(tmp_path: Path) -> None:
    """What is not a file is not copied as one."""
    with pytest.raises(StorageUnavailable, match="pg_dump"):
        back_up("postgresql+psycopg://host/database", tmp_path / "copy")
    with pytest.raises(StorageUnavailable, match="no journal"):
        back_up(f"sqlite:///{tmp_path}/none", tmp_path / "copy")


@pytest.mark.parametrize("way", ["itself", "log", "link", "part", "unfinished"])
def test_a_copy_does_not_take_the_place_of_the_journal(url: str, tmp_path: Path, way: str) -> None:
    """Else what is written afterwards is lost; nor is a journal restored from itself."""
    url = f"{url}.part" if way == "part" else url
    journal = SqlJournal(url)
    write(journal, item("a"))
    path = Path(url.removeprefix("sqlite:///"))
    link = tmp_path / "link"
    link.symlink_to(path)
    log = path.with_name(f"{path.name}-wal")
    target = {
        "itself": path,
        "log": log,
        "link": link,
        "part": path.with_suffix(""),
        "unfinished": path.with_name(f"{path.name}.part"),
    }[way]

    with pytest.raises(StorageUnavailable, match="is the journal itself, or one of its files"):
        back_up(url, target)
    with pytest.raises(StorageUnavailable, match="is the journal itself, or one of its files"):
        restore(target, url, replace=True)

    assert write(journal, item("b")) == [2]
    journal.close()
    again = SqlJournal(url)
    assert again.last_seq() == 2
    again.close()


def test_a_log_beside_a_copy_is_part_of_it(url: str, tmp_path: Path) -> None:
    """As where the files of a journal were copied whose process was killed."""
    journal = SqlJournal(url)
    write(journal, *(item(f"a{n}") for n in range(50)))
    path = Path(url.removeprefix("sqlite:///"))
    for suffix in ("", "-wal"):
        (tmp_path / f"raw{suffix}").write_bytes(path.with_name(path.name + suffix).read_bytes())
    before = shown(journal)
    journal.close()

    assert restore(tmp_path / "raw", url, replace=True) == 50

    again = SqlJournal(url)
    assert shown(again) == before
    again.close()
    assert {each.name for each in tmp_path.glob("raw*")} == {"raw", "raw-wal"}
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_nothing_is_left_of_a_restore_that_was_refused(url: str, tmp_path: Path) -> None:
    """A copy holds users, too."""
    journal = SqlJournal(url)
    write(journal, item("a"))
    back_up(url, tmp_path / "copy")
    before = sorted(each.name for each in Path(url.removeprefix("sqlite:///")).parent.iterdir())

    with pytest.raises(StorageUnavailable, match="stop the service first"):
        restore(tmp_path / "copy", url, replace=True)
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageUnavailable, match="cannot be copied"):
        back_up(url, tmp_path / "taken")

    assert sorted(each.name for each in Path(url.removeprefix("sqlite:///")).parent.iterdir()) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "deep", "taken"]
    journal.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_journal_that_was_put_back_gets_another_name(request: pytest.FixtureRequest, url: str, kind: str) -> None:
    """By which it is known up to where it is the one it was copied from."""
    address = url if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with pytest.raises(StorageUnavailable, match="no journal"):
        renew(address)
    journal = SqlJournal(address)
    write(journal, item("a"), item("b"))
    before = journal.identity
    journal.close()

    assert renew(address) == 2

    again = SqlJournal(address)
    assert again.identity != before
    assert (again.common(before), again.common("stranger"), write(again, item("c"))) == (2, 0, [3])
    again.close()
    assert renew(address) == 3


def test_nothing_of_what_was_erased_is_left_in_a_file_that_was_written_anew(url: str) -> None:
    """Whatever the database left there."""
    journal = SqlJournal(url)
    write(journal, *(Interact(f"erased-{n}", "a") for n in range(200)), item("kept"))
    path = Path(url.removeprefix("sqlite:///"))
    with sqlite3.connect(path, isolation_level=None) as careless:
        careless.execute("PRAGMA secure_delete=OFF")
        careless.execute("DELETE FROM journal WHERE user_id IS NOT NULL")
        careless.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    careless.close()
    assert b"erased-1" in path.read_bytes()

    rewrite(url)

    assert b"erased-1" not in path.read_bytes() + path.with_name(f"{path.name}-wal").read_bytes()
    assert [seq for seq, _ in shown(journal)] == [201]
    assert write(journal, item("later")) == [202]
    journal.close()
