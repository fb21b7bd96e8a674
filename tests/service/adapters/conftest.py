"""Journals of every kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.adapters.memory import MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.ports import Journal


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database whose directory does not exist yet."""
    return f"sqlite:///{tmp_path}/deep/down/journal.sqlite3"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def journal(request: pytest.FixtureRequest, url: str) -> Iterator[Journal]:
    """Each implementation in turn."""
    made: Journal
    if request.param == "memory":
        made = MemoryJournal()
    else:
        made = SqlJournal(url if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield made
    made.close()


@pytest.fixture
def sql(url: str) -> Iterator[SqlJournal]:
    """A SQL journal."""
    made = SqlJournal(url, timeout_s=0.05)
    yield made
    made.close()
