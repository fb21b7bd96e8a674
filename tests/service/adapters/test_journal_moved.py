"""A journal in a file that is moved, replaced or removed while it is open."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, EraseUser
from service.errors import StorageUnavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def sql(path: Path) -> Iterator[SqlJournal]:
    """A journal with one record."""
    journal = SqlJournal(f"sqlite:///{path}")
    write(journal, "first")
    yield journal
    journal.close()


def write(journal: SqlJournal, item_id: str) -> int:
    """Appends a record; its number."""
    return journal.append(DeleteItem(item_id)).result(10).seq


def written(path: Path) -> list[str]:
    """What a process that starts now finds."""
    journal = SqlJournal(f"sqlite:///{path}")
    try:
        return [record.entry.item_id for record in journal.read() if isinstance(record.entry, DeleteItem)]
    finally:
        journal.close()


def test_nothing_is_acknowledged_that_a_restart_would_not_find(sql: SqlJournal, path: Path) -> None:
    """Moved away it refuses, and makes no other file; moved back it goes on where it was."""
    elsewhere = path.rename(path.with_name("elsewhere.sqlite3"))

    with pytest.raises(StorageUnavailable, match=r"journal\.sqlite3 was moved"):
        write(sql, "lost")
    assert not path.exists()

    elsewhere.rename(path)
    assert write(sql, "second") == 2
    assert written(path) == ["first", "second"]


def test_a_file_in_its_place_is_not_taken_for_it(sql: SqlJournal, path: Path) -> None:
    """A copy that was put back under a running process: it knows nothing of what is written to the old file."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)

    with pytest.raises(StorageUnavailable, match="cannot be written"):
        write(sql, "lost")


def test_a_new_connection_does_not_make_a_file(sql: SqlJournal, path: Path) -> None:
    """Nor one that is not in the pool."""
    path.rename(path.with_name("elsewhere.sqlite3"))
    sql._engine.dispose()

    with pytest.raises(StorageUnavailable, match="was moved"):
        sql.last_seq()

    assert not path.exists()


def test_a_file_that_is_moved_before_the_log_is_emptied_is_noticed(
    sql: SqlJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is acknowledged; the thread that writes lives on, and refuses what comes next."""
    forget = sql._dialect.forget_erased

    def late() -> bool:
        monkeypatch.undo()
        path.rename(path.with_name("elsewhere.sqlite3"))
        sql._engine.dispose()  # as where another reader holds the connection: a new one is to be made
        return forget()

    monkeypatch.setattr(sql._dialect, "forget_erased", late)
    seq = sql.append(EraseUser("u")).result(10).seq

    assert seq == 2
    with pytest.raises(StorageUnavailable, match="moved, removed or replaced"):
        write(sql, "lost")


def test_a_log_that_was_removed_is_noticed(sql: SqlJournal, path: Path) -> None:
    """And what was acknowledged before reaches the file where the process ends in order."""
    path.with_name(f"{path.name}-wal").unlink()

    with pytest.raises(StorageUnavailable, match="wal was removed"):
        write(sql, "lost")

    sql.close()
    assert written(path) == ["first"]


@pytest.mark.parametrize("left", [None, b""])
def test_a_log_without_its_file_is_not_thrown_away(path: Path, left: bytes | None) -> None:
    """It may hold most of what was acknowledged."""
    log = path.with_name(f"{path.name}-wal")
    log.write_bytes(b"acknowledged")
    if left is not None:
        path.write_bytes(left)

    with pytest.raises(StorageUnavailable, match=r"is missing or empty, but .*-wal is not"):
        SqlJournal(f"sqlite:///{path}")

    assert log.read_bytes() == b"acknowledged"
