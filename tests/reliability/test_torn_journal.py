"""Whatever a crash leaves of the journal's files, it opens: earlier commits are whole, the last is whole or absent.

SQLite flushes its write-ahead log at each commit. A crash in the middle of one leaves some of its bytes: the first
ones, or any of the disk's sectors. One in the middle of a checkpoint leaves some pages of the main file new, some old.
"""

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import Entry, Interact, Item, PutItem

NAME = "journal.sqlite3"
ITEMS = [f"a{n}" for n in range(20)]
LATE = [f"z{n}" for n in range(6)]
_WAL_HEADER, _FRAME_HEADER, _SECTOR, _PAGE = 32, 24, 512, 4096


@dataclass(frozen=True)
class Crashed:
    """The files of a journal in the moment after its last commit.

    Attributes:
        files: name → contents.
        last: how many records the last commit holds.
        frames: where the frames of the last commit begin in the log, and where the last one ends.
    """

    files: dict[str, bytes]
    last: int
    frames: list[int]

    @property
    def log(self) -> bytes:
        """The write-ahead log."""
        return self.files[f"{NAME}-wal"]


def put(item_id: str) -> Entry:
    """An item with a vector of its own."""
    return PutItem(Item(item_id, {"text": np.full(50, len(item_id), np.float32)}, title=f"title of {item_id}"))


def append_together(journal: SqlJournal, entries: Iterable[Entry], directory: Path) -> None:
    """Appends entries while another connection holds the database, so that most of them share a commit."""
    other = sqlite3.connect(directory / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    futures = [journal.append(entry) for entry in entries]
    other.execute("COMMIT")
    other.close()
    for future in futures:
        future.result()


def last_commit(log: bytes) -> list[int]:
    """Where the frames of the last commit begin in a write-ahead log, and where the last one ends."""
    frame = _FRAME_HEADER + int.from_bytes(log[8:12], "big")
    starts = range(_WAL_HEADER, len(log), frame)
    commits = [start for start in starts if int.from_bytes(log[start + 4 : start + 8], "big")]
    return [start for start in starts if start > commits[-2]] + [commits[-1] + frame]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of journals are opened, and none has to last."""
    shared = Path("/dev/shm")  # noqa: S108 - the directory inside is ours alone
    directory = Path(tempfile.mkdtemp(prefix="i3rec-", dir=shared if os.access(shared, os.W_OK) else tmp_path))
    yield directory / "after"
    shutil.rmtree(directory)


@pytest.fixture
def crashed(tmp_path: Path) -> Crashed:
    """Twenty items and an interaction in commits of their own, then six items and an interaction, most in one."""
    directory, sizes = tmp_path / "before", []
    journal = SqlJournal(f"sqlite:///{directory / NAME}", on_batch=sizes.append)
    for item_id in ITEMS:
        journal.append(put(item_id)).result()
    journal.append(Interact("ann", "a0", event_id="e0")).result()
    append_together(journal, [*map(put, LATE), Interact("ann", "z0", event_id="e1")], directory)
    files = {path.name: path.read_bytes() for path in directory.iterdir()}
    journal.close()
    assert sizes[-1] > 1
    return Crashed(files, sizes[-1], last_commit(files[f"{NAME}-wal"]))


def reopened(files: dict[str, bytes], directory: Path) -> list[Entry]:
    """The entries of a journal made of these files, which then still takes another."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, contents in files.items():
        (directory / name).write_bytes(contents)
    journal = SqlJournal(f"sqlite:///{directory / NAME}")
    try:
        entries = [record.entry for record in journal.read()]
        assert journal.append(put("new")).result().seq > len(entries)
        assert journal.find("new") is not None
    finally:
        journal.close()
    return entries


def check(entries: list[Entry], crashed: Crashed, *, complete: bool) -> None:
    """Nothing of the earlier commits is missing; the last one is there as a whole, or nothing of it is."""
    written = [*ITEMS, "a0", *LATE, "z0"]
    found = [entry.item.item_id if isinstance(entry, PutItem) else entry.item_id for entry in entries]
    assert found == (written if complete else written[: -crashed.last])
    for entry in entries:
        if isinstance(entry, PutItem):
            assert entry.item.modalities["text"].tolist() == [float(len(entry.item.item_id))] * 50


@pytest.mark.parametrize("step", [_SECTOR, pytest.param(1, marks=pytest.mark.slow)])
def test_log_may_break_off_anywhere(crashed: Crashed, step: int, scratch: Path) -> None:
    """Cut at any byte of the last commit, the log gives all earlier commits, and nothing of the last one."""
    start, end = crashed.frames[0], crashed.frames[-1]
    edges = [frame + part for frame in crashed.frames for part in (-1, 0, 1, 8, _FRAME_HEADER)]
    places = sorted({*range(start, end, step), *(place for place in edges if start <= place < end)})

    for place in places:
        log = crashed.log[:place]
        check(reopened(crashed.files | {f"{NAME}-wal": log}, scratch), crashed, complete=False)

    check(reopened(crashed.files, scratch), crashed, complete=True)
    print(f"{len(places)} places in {len(crashed.frames) - 1} frames")  # noqa: T201 - a figure


@pytest.mark.parametrize("until_the_end", [False, True])
def test_log_may_lack_any_sector(crashed: Crashed, until_the_end: bool, scratch: Path) -> None:
    """A sector of the last commit that never reached the disk, or all from there on, takes the whole commit away."""
    end = len(crashed.log)
    for place in range(crashed.frames[0], crashed.frames[-1], _SECTOR):
        length = end - place if until_the_end else min(_SECTOR, end - place)
        log = crashed.log[:place] + bytes(length) + crashed.log[place + length :]

        entries = reopened(crashed.files | {f"{NAME}-wal": log}, scratch)

        check(entries, crashed, complete=log == crashed.log)


def test_checkpoint_may_break_off_anywhere(crashed: Crashed, scratch: Path) -> None:
    """Whichever pages of the main file a checkpoint has written when it ends, nothing is missing."""
    scratch.mkdir()
    for name, contents in crashed.files.items():
        (scratch / name).write_bytes(contents)
    with closing(sqlite3.connect(scratch / NAME)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0] == 0
        new = (scratch / NAME).read_bytes()
    old, rng = crashed.files[NAME], random.Random(1)
    assert new != old
    assert len(new) % _PAGE == 0

    for _ in range(20):
        pages = [(new if rng.random() < 0.5 else old)[at : at + _PAGE] for at in range(0, len(new), _PAGE)]
        main = b"".join(page.ljust(_PAGE, b"\0") for page in pages)
        check(reopened(crashed.files | {NAME: main}, scratch), crashed, complete=True)


@pytest.mark.parametrize(
    "strays",
    [
        {f"{NAME}-shm": random.Random(2).randbytes(40_000)},
        {f"{NAME}-shm": b""},
        {f"{NAME}-shm": b"\xff" * 7},
        {f"{NAME}-journal": random.Random(3).randbytes(5000)},
        {f"{NAME}-journal": b"", "journal.sqlite3.bak": b"x", "-wal": b"x", "lost+found": b""},
    ],
    ids=["garbage shm", "empty shm", "short shm", "garbage rollback journal", "others"],
)
def test_other_files_do_not_matter(crashed: Crashed, strays: dict[str, bytes], scratch: Path) -> None:
    """The index of the log is made anew, and what else lies beside the journal is not read."""
    check(reopened(crashed.files | strays, scratch), crashed, complete=True)
