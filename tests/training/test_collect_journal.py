"""Reading a journal that the service writes, and the mark that says how far it was read."""

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, EraseUser, Interact, Item, PutItem
from training import journal as reader
from training.commands import main
from training.dataset import read_dataset
from training.errors import DatasetError, JournalUnreadable
from training.journal import open_journal
from training.watermark import Watermark, read_watermark, write_watermark


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a journal whose path holds what means something in a URL."""
    return f"sqlite:///{tmp_path}/a b#c%20/journal.sqlite3"


@pytest.fixture
def journal(url: str) -> Iterator[SqlJournal]:
    """The journal of a service that runs."""
    journal = SqlJournal(url)
    yield journal
    journal.close()


def write(journal: SqlJournal, *entries: object) -> None:
    """Writes entries, one after the other."""
    for entry in entries:
        journal.append(entry).result()


def read_all(url: str) -> None:
    """Reads all parts of a journal."""
    with open_journal(url) as opened:
        with opened.snapshot() as snapshot:
            list(snapshot.items())
        opened.interactions(snapshot.mark.seq)


def alter(journal: SqlJournal, statement: str) -> None:
    """Changes the journal's file behind the service's back."""
    address = str(journal._engine.url.database)
    with sqlite3.connect(address) as connection:
        connection.execute(statement)
    connection.close()


def test_records_read_as_they_were_written(journal: SqlJournal, url: str) -> None:
    """Items by their latest record, in the order of these; erased users; interactions with the numbers' bits intact."""
    item = Item(
        "ä/ b",
        {"image": np.array([1.5, -2], np.float32)},
        title="T",
        categories=("a", "b"),
        attributes={"n": 1, "t": "x"},
        hidden=True,
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        made_by={"image": "0" * 64},
    )
    write(
        journal, PutItem(item), PutItem(Item("z")), PutItem(item, 1), DeleteItem("z"), DeleteItem("b"), EraseUser("u")
    )
    write(journal, Interact("u", "ä/ b", at=datetime(2020, 1, 1, tzinfo=UTC)))

    with open_journal(url) as opened:
        with opened.snapshot() as snapshot:
            items = list(snapshot.items())
        online = opened.interactions(snapshot.mark.seq)

    assert snapshot.mark == Watermark(journal.identity, 7)
    assert snapshot.erased == {"u"}
    assert [item_id for item_id, _ in items] == ["ä/ b", "z", "b"]
    assert items[1][1] is items[2][1] is None
    record = items[0][1]
    assert record is not None
    assert (record.title, record.categories, record.attributes) == ("T", ("a", "b"), {"n": 1, "t": "x"})
    assert record.modalities["image"].tolist() == [1.5, -2]
    assert record.since == 1
    assert (record.made_by, record.shown, record.expires_at) == (item.made_by, False, item.expires_at)
    assert (online.users.to_pylist(), online.items.to_pylist()) == (["u"], ["ä/ b"])
    assert online.times.tolist() == [1577836800]


def test_later_records_are_left_for_the_next_time(journal: SqlJournal, url: str) -> None:
    """What is written while the journal is read belongs to none of its parts; what is erased meanwhile is gone."""
    write(journal, PutItem(Item("a", title="before")), Interact("v", "a"), Interact("u", "a"))

    with open_journal(url) as opened:
        with opened.snapshot() as snapshot:
            write(journal, PutItem(Item("a", title="after")), PutItem(Item("b")), Interact("u", "b"))
            journal.compact()
            items = dict(snapshot.items())
        write(journal, EraseUser("v"), Interact("v", "a"))
        online = opened.interactions(snapshot.mark.seq)

    assert snapshot.mark.seq == 3
    assert snapshot.erased == frozenset()
    assert {item_id: record and record.title for item_id, record in items.items()} == {"a": "before"}
    assert online.users.to_pylist() == ["u"]  # what v did is erased, and neither may it be learned from


def test_pages_join_without_a_seam(journal: SqlJournal, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More interactions than a page holds are read once each, in order."""
    monkeypatch.setattr(reader, "_PAGE", 3)
    write(journal, *(entry for n in range(8) for entry in (Interact(f"u{n}", "a"), PutItem(Item(f"i{n}")))))

    with open_journal(url) as opened:
        assert opened.interactions(15).users.to_pylist() == [f"u{n}" for n in range(8)]


def test_journal_of_a_stopped_service_is_read(journal: SqlJournal, url: str) -> None:
    """Nobody else has it open."""
    write(journal, Interact("u", "a"))
    journal.close()

    with open_journal(url) as opened:
        assert len(opened.interactions(1)) == 1


def test_missing_journal_is_refused_and_not_made(tmp_path: Path) -> None:
    """A misspelt path must not end in an empty journal."""
    expected = r"nowhere\.sqlite3 cannot be read: unable to open database file"
    url = f"sqlite:///{tmp_path}/nowhere.sqlite3"

    with pytest.raises(JournalUnreadable, match=expected), open_journal(url):
        pass

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("journal.sqlite3", "the journal URL cannot be read: expected a URL sqlite:///PATH or postgresql"),
        ("sqlite://", "expected a URL sqlite:///PATH"),
        ("mysql://me:secret@host/db", r"the journal mysql://me:\*\*\*@host/db cannot be read: expected a URL"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    """The message says what is expected, and keeps passwords to itself."""
    with pytest.raises(JournalUnreadable, match=message), open_journal(url):
        pass


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP TABLE journal_facts", "expected a table journal_facts, found none"),
        ("ALTER TABLE journal RENAME COLUMN payload TO load", "expected a column payload of the table journal"),
        ("DELETE FROM journal_facts", "No row was found"),
        ("UPDATE journal SET payload = '{' WHERE seq = 1", "record 1 is none of the service's"),
        ("UPDATE journal SET payload = '{\"format\":2}' WHERE seq = 1", "expected format 1, found 2"),
        ("UPDATE journal SET kind = 'paint' WHERE seq = 1", "expected put or delete, found 'paint'"),
        ("UPDATE journal SET payload = replace(payload, 'AACAPw', '!') WHERE seq = 1", "record 1 is none"),
        (
            "UPDATE journal SET payload = replace(payload, '\"since\":null', '\"since\":true') WHERE seq = 1",
            "a number as since",
        ),
        ("UPDATE journal SET payload = '[]' WHERE seq = 2", "record 2 is none of the service's"),
        ("UPDATE journal SET at = 'noon' WHERE seq = 2", "record 2 is none of the service's"),
    ],
)
def test_what_the_service_does_not_write_is_refused(
    journal: SqlJournal, url: str, statement: str, message: str
) -> None:
    """One error names the journal and the record, rather than half of it being learned from."""
    write(journal, PutItem(Item("a", {"image": np.ones(1, np.float32)})), Interact("u", "a"))
    alter(journal, statement)

    with pytest.raises(JournalUnreadable, match=message):
        read_all(url)


def test_command_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, and nothing is written."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "interactions.tsv").write_text("user\titem\nu\t0\n")
    np.save(base / "features_image.npy", np.ones((1, 1), np.float32))
    arguments = ["--journal", f"sqlite:///{tmp_path}/none", "--base", str(base), "--out", str(tmp_path / "out")]

    assert main(["collect", *arguments]) == 1

    error = capsys.readouterr().err
    assert error == f"error: the journal sqlite:///{tmp_path}/none cannot be read: unable to open database file\n"
    assert list(tmp_path.iterdir()) == [base]


def test_mark_reads_back(tmp_path: Path) -> None:
    """A directory without one has none."""
    assert read_watermark(tmp_path) is None

    write_watermark(tmp_path, Watermark("abc", 7))

    assert read_watermark(tmp_path) == Watermark("abc", 7)
    assert json.loads((tmp_path / "journal.json").read_text()) == {"identity": "abc", "watermark": 7}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "7", '{"identity": "a"}', '{"identity": "", "watermark": 1}',
        '{"identity": "a", "watermark": -1}', '{"identity": "a", "watermark": true}',
        '{"identity": "a", "watermark": 1.0}', '{"identity": 1, "watermark": 1}',
        '{"identity": "a", "watermark": 1, "more": 1}',
    ],
)  # fmt: skip
def test_other_marks_are_refused(tmp_path: Path, text: str) -> None:
    """A mark that says too much would let vectors stand that were never trained."""
    (tmp_path / "interactions.tsv").write_text("user\titem\nu\t0\n")
    np.save(tmp_path / "features_image.npy", np.ones((1, 1), np.float32))
    (tmp_path / "journal.json").write_text(text)

    with pytest.raises(DatasetError, match=r"journal\.json: expected a JSON object of two"):
        read_dataset(tmp_path)
