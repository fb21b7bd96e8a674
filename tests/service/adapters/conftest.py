"""Journals of every kind."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from service.adapters.memory import MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.ports import Journal


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database whose directory does not exist yet."""
    return f"sqlite:///{tmp_path}/deep/down/journal.sqlite3"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL cluster of its own behind a socket file, made by the server's own tools; its directory."""
    tools = {name: _tool(name) for name in ("initdb", "pg_ctl")}
    if not all(tools.values()):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    home = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # short: it holds a socket
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(home, user)
    data = str(home / "data")
    options = f"-k {home} -c listen_addresses='' -c fsync=off"
    _run(tools["initdb"], "-D", data, "-A", "trust", "-U", "i3rec", "-E", "UTF8", "--locale=C", user=user)
    _run(tools["pg_ctl"], "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start", user=user)
    try:
        yield str(home)
    finally:
        _run(tools["pg_ctl"], "-D", data, "-m", "immediate", "stop", user=user)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Of an empty database."""
    name = f"journal_{uuid.uuid4().hex}"
    address = "postgresql+psycopg://i3rec@/{}?host=" + postgres_server
    engine = sa.create_engine(address.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return address.format(name)


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


def _tool(name: str) -> str | None:
    """A program of the server; Debian keeps them out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


def _run(*command: str | None, user: str | None) -> None:
    arguments = [part for part in command if part is not None]
    subprocess.run(arguments, check=True, capture_output=True, user=user, timeout=120)
