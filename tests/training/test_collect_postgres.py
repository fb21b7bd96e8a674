"""``python -m training collect`` where the journal is in PostgreSQL."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem
from training.commands import main
from training.errors import JournalUnreadable
from training.journal import open_journal
from training.watermark import Watermark, read_watermark

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def text(*numbers: float) -> dict[str, np.ndarray]:
    """Features of one modality."""
    return {"text": np.array(numbers, np.float32)}


def at(minute: int) -> datetime:
    """A time, also one with another zone than UTC's."""
    return NOON + timedelta(minutes=minute)


ENTRIES: list[Entry] = [
    PutItem(Item("new", text(0.1, -1e-45, 3e38), title="N\tew", categories=("ä", "b"), attributes={"n": 7, "f": 0.1})),
    PutItem(Item("a", text(1, 2, 3), title="Anchor", hidden=True)),
    PutItem(Item("gone", text(4, 5, 6))),
    Interact("u1", "new", at=at(1), event_id="e1"),
    Interact("stranger/ü", "new", at=at(2).astimezone()),
    Interact("erased", "a", at=at(3)),
    Interact("u2", "gone", at=at(4)),
    EraseUser("erased"),
    DeleteItem("gone"),
    Interact("erased", "b", at=at(5)),
    Interact("u1", "new", at=at(6), event_id="e1"),
    PutItem(Item("new", text(7, 8, 9), title="Newer", expires_at=at(-9))),
    EraseUser("u2"),
    Interact("stranger/ü", "b", kind="buy", at=at(7)),
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two items with titles and features of texts, and three interactions with times."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "items.tsv").write_text("item\ttitle\na\tA\nb\tB\n")
    (directory / "interactions.tsv").write_text("user\titem\ttimestamp\nu1\ta\t10\nu1\tb\t20\nu2\tb\t30\n")
    np.save(directory / "features_text.npy", np.array([[1, 1, 1], [np.nan, np.nan, np.nan]], np.float32))
    return directory


@pytest.fixture
def open_service() -> Iterator[Callable[[str], SqlJournal]]:
    """Opens journals as a service does, and closes them at the end."""
    opened: list[SqlJournal] = []

    def journal(url: str) -> SqlJournal:
        opened.append(SqlJournal(url))
        return opened[-1]

    yield journal
    for each in opened:
        each.close()


def test_the_same_records_give_the_same_directory_on_both_databases(
    tmp_path: Path, base: Path, postgres_url: str, open_service: Callable[[str], SqlJournal]
) -> None:
    """Every file is the same to the byte, but the mark, which names the journal; services run on both meanwhile."""
    urls = {"sqlite": f"sqlite:///{tmp_path}/journal.sqlite3", "postgres": postgres_url}
    outputs = {}
    for name, url in urls.items():
        journal, out = open_service(url), tmp_path / name
        for entry in ENTRIES:
            journal.append(entry).result(30)

        assert main(["collect", "--journal", url, "--base", str(base), "--out", str(out)]) == 0

        outputs[name] = {path.name: path.read_bytes() for path in out.iterdir()}
        assert read_watermark(out) == Watermark(journal.identity, journal.last_seq())
        del outputs[name]["journal.json"]

    assert outputs["postgres"] == outputs["sqlite"]
    lines = outputs["sqlite"]["interactions.tsv"].decode().splitlines()[1:]
    assert sorted(line.split("\t")[0] for line in lines) == ["erased", "stranger/ü", "stranger/ü", "u1", "u1", "u1"]


def test_a_database_without_a_journal_is_refused(postgres_url: str) -> None:
    """It is read only: no table is made."""
    for _ in range(2):
        with pytest.raises(JournalUnreadable, match="expected a table journal"), open_journal(postgres_url):
            pass
