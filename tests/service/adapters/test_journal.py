"""Conformance of every Journal, and what is special to SQL."""

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Interact, Item, PutItem
from service.errors import StorageUnavailable
from service.ports import Journal


def item(item_id: str, **facts: object) -> Item:
    """An item with one modality."""
    return Item(item_id, {"text": np.array([1.5, -0.1], np.float32)}, **facts)  # type: ignore[arg-type]


def database(url: str) -> sqlite3.Connection:
    """A connection beside the journal's own."""
    return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)


def test_append_numbers_records_from_one(journal: Journal) -> None:
    """Each record gets the next number and the time, and can be read back in order."""
    records = [journal.append(DeleteItem(str(n))).result(5) for n in range(3)]

    assert [record.seq for record in records] == [1, 2, 3]
    assert [record.entry for record in journal.read()] == [DeleteItem("0"), DeleteItem("1"), DeleteItem("2")]
    assert [record.seq for record in journal.read(after=2)] == [3]
    assert list(journal.read(after=3)) == []
    assert journal.last_seq() == 3
    assert abs(datetime.now(UTC) - records[0].at) < timedelta(minutes=1)


def test_empty_journal_is_empty(journal: Journal) -> None:
    """Nothing written: no records, seq 0."""
    assert (list(journal.read()), list(journal.latest()), journal.last_seq()) == ([], [], 0)


def test_changed_names_the_items_written_since(journal: Journal) -> None:
    """Each with its latest record, deletions included; users are no items, and what is older is left out."""
    for entry in (PutItem(item("a")), PutItem(item("b")), Interact("u", "c"), PutItem(item("a")), DeleteItem("d")):
        journal.append(entry).result(5)

    assert journal.changed(0) == {"a": 4, "b": 2, "d": 5}
    assert journal.changed(3) == {"a": 4, "d": 5}
    assert journal.changed(5) == {}


def test_items_come_back_bit_for_bit(journal: Journal) -> None:
    """Every part of an item survives, its vectors to the bit, its time with zone."""
    written = Item(
        "id ü\u2028/",
        {"text": np.array([0.1, -1e-45, 3e38], np.float32), "image": np.array([], np.float32)},
        "T\nitle",
        ("a", "b"),
        {"s": "x", "i": 7, "f": 0.1, "b": True},
        available=False,
        hidden=True,
        expires_at=datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
    )
    journal.append(PutItem(written)).result(5)

    (record,) = journal.read()

    assert isinstance(record.entry, PutItem)
    read = record.entry.item
    assert {name: v.tobytes() for name, v in read.modalities.items()} == {
        name: v.tobytes() for name, v in written.modalities.items()
    }
    assert (read.item_id, read.title, read.categories, read.attributes) == (
        written.item_id,
        written.title,
        written.categories,
        written.attributes,
    )
    assert (read.available, read.hidden, read.expires_at) == (False, True, written.expires_at)


def test_latest_gives_each_item_once_in_order(journal: Journal) -> None:
    """Only the last record of an item counts, a delete as much as a put."""
    for entry in (PutItem(item("a")), PutItem(item("b")), DeleteItem("a"), PutItem(item("c")), PutItem(item("b"))):
        journal.append(entry).result(5)

    latest = list(journal.latest())

    assert [record.seq for record in latest] == [3, 4, 5]
    assert latest[0].entry == DeleteItem("a")


def test_latest_can_go_on_after_a_record(journal: Journal) -> None:
    """What is void by a later record does not come, wherever one goes on; after the last nothing does."""
    for entry in (PutItem(item("a")), PutItem(item("b")), DeleteItem("a"), Interact("u", "b"), PutItem(item("c"))):
        journal.append(entry).result(5)

    found = [[record.seq for record in journal.latest(after)] for after in range(6)]

    assert found == [[2, 3, 5], [2, 3, 5], [3, 5], [5], [5], []]


@pytest.mark.parametrize("since", [None, 0, 1, 2**53 + 1])
def test_age_of_features_comes_back(journal: Journal, since: int | None) -> None:
    """Whichever way a record is read."""
    journal.append(PutItem(item("a"), since)).result(5)

    for (record,) in (list(journal.read()), list(journal.latest()), [journal.find("a")]):
        assert isinstance(record.entry, PutItem)
        assert record.entry.since == since
        assert type(record.entry.since) is type(since)


def test_records_of_old_have_features_of_their_own(sql: SqlJournal, url: str) -> None:
    """Written before it was noted since when features are what they are, they are read as new with the record."""
    sql.append(PutItem(item("a", title="T"), 7)).result(5)
    connection = database(url)
    (payload,) = connection.execute("SELECT payload FROM journal").fetchone()
    assert ',"since":7' in payload
    connection.execute("UPDATE journal SET payload = ?", [payload.replace(',"since":7', "")])
    connection.close()

    (record,) = sql.read()

    assert isinstance(record.entry, PutItem)
    assert (record.entry.since, record.entry.item.title) == (None, "T")


def test_many_writers_lose_nothing(journal: Journal) -> None:
    """Writes from many threads all get numbers of their own and are all there, over several pages of reading."""
    seqs: list[int] = []

    def write(name: int) -> None:
        futures = [journal.append(PutItem(item(f"{name}-{n}"))) for n in range(200)]
        seqs.extend(future.result(10).seq for future in futures)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(seqs) == list(range(1, 1201))
    assert [record.seq for record in journal.read()] == sorted(seqs)
    assert len(list(journal.latest())) == 1200


def test_closed_journal_refuses(journal: Journal) -> None:
    """After close, which may come twice, writes fail and say so."""
    journal.append(DeleteItem("a"))
    journal.close()
    journal.close()

    with pytest.raises(StorageUnavailable, match="closed"):
        journal.append(DeleteItem("b")).result(5)


def test_close_finishes_what_waits(url: str) -> None:
    """Writes that were taken before close are on disk after it."""
    journal = SqlJournal(url)
    futures = [journal.append(DeleteItem(str(n))) for n in range(2000)]

    journal.close()

    assert [future.result(0).seq for future in futures] == list(range(1, 2001))


def test_reopened_journal_goes_on(url: str) -> None:
    """Records, identity and numbering survive a restart; a number is never given twice."""
    first = SqlJournal(url)
    first.append(DeleteItem("a")).result(5)
    first.append(DeleteItem("b")).result(5)
    first.close()
    with database(url) as connection:
        connection.execute("DELETE FROM journal WHERE seq = 2")
    connection.close()

    second = SqlJournal(url)

    assert second.append(DeleteItem("c")).result(5).seq == 3
    assert [record.seq for record in second.read()] == [1, 3]
    assert second.identity == first.identity
    second.close()


def test_waiting_writes_share_a_commit(url: str) -> None:
    """While one commit is held up, the writes behind it gather into one batch."""
    batches: list[int] = []
    journal = SqlJournal(url, on_batch=batches.append)
    connection = database(url)
    connection.execute("BEGIN IMMEDIATE")
    futures = [journal.append(DeleteItem(str(n))) for n in range(50)]
    connection.execute("COMMIT")
    connection.close()

    for future in futures:
        future.result(5)
    journal.close()

    assert sum(batches) == 50
    assert len(batches) <= 3


def test_commits_are_durable(sql: SqlJournal) -> None:
    """The connection writes ahead and flushes at each commit (white box: asks the engine's own connection)."""
    with sql._engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()

    assert (mode, synchronous) == ("wal", 2)


def test_locked_database_fails_the_write_only(sql: SqlJournal, url: str) -> None:
    """Where another process holds the database too long, the write fails cleanly and the next one works."""
    connection = database(url)
    connection.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageUnavailable, match="locked"):
        sql.append(DeleteItem("a")).result(5)
    connection.execute("ROLLBACK")
    connection.close()

    assert sql.append(DeleteItem("b")).result(5).seq == 1
    assert [record.entry for record in sql.read()] == [DeleteItem("b")]


def test_full_disk_fails_the_write_only(sql: SqlJournal) -> None:
    """Where no page can be added, the write fails with StorageUnavailable, and later ones work once there is room."""
    sql.append(PutItem(item("a"))).result(5)
    with sql._engine.connect() as connection:  # the only pooled connection, so the writer gets the same one
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StorageUnavailable, match="full"):
        sql.append(PutItem(item("b", title="x" * 100_000))).result(5)
    with sql._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")

    assert sql.append(PutItem(item("c"))).result(5).seq == 2


GARBAGE: list[Callable[[str], str]] = [
    lambda _: "nonsense",
    lambda _: "{}",
    lambda text: text.replace('"format":1', '"format":2'),
    lambda text: text.replace('"text":"', '"text":"?'),
    lambda text: text.replace('"text":"AADA', '"text":"'),
    lambda _: "[]",
    lambda text: text.replace('"expires_at":null', '"expires_at":"soon"'),
    lambda text: text.replace('"since":null', '"since":"soon"'),
    lambda text: text.replace('"since":null', '"since":true'),
    lambda text: text.replace('"since":null', '"since":1.5'),
]


@pytest.mark.parametrize("spoil", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_rows_are_named(sql: SqlJournal, url: str, spoil: Callable[[str], str]) -> None:
    """A row that is not ours gives an error that names its seq."""
    sql.append(PutItem(item("a"))).result(5)
    sql.append(PutItem(item("b"))).result(5)
    connection = database(url)
    (payload,) = connection.execute("SELECT payload FROM journal WHERE seq = 2").fetchone()
    assert spoil(payload) != payload
    connection.execute("UPDATE journal SET payload = ? WHERE seq = 2", [spoil(payload)])
    connection.close()

    with pytest.raises(StorageUnavailable, match="journal record 2"):
        list(sql.read())


def test_impossible_seq_is_refused(sql: SqlJournal) -> None:
    """A number no database can hold is StorageUnavailable, not an OverflowError."""
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        list(sql.read(after=2**70))


def test_unusable_places_are_refused(tmp_path: Path) -> None:
    """A directory that cannot be made, a file that is no database, and a journal in memory are refused at once."""
    (tmp_path / "file").write_text("not a database, and longer than the header of one" * 10)

    for url in (f"sqlite:///{tmp_path}/file/x", f"sqlite:///{tmp_path}/file", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(StorageUnavailable):
            SqlJournal(url)
