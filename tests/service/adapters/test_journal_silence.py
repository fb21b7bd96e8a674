"""A PostgreSQL server that says nothing: frozen, or behind something that swallows what is sent."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from service.adapters import sql_dialects
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem
from service.errors import StorageUnavailable

SOCKET = ".s.PGSQL.5432"


class Relay:
    """Passes on what is sent between callers and a server, unless it is silent."""

    def __init__(self, here: Path, server: str) -> None:
        self.silent = False
        self._server = f"{server}/{SOCKET}"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(here / SOCKET))
        self._listening.listen()
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                threading.Thread(target=self._pass_on, args=(caller, server), daemon=True).start()

    def _pass_on(self, caller: socket.socket, server: socket.socket) -> None:
        with caller, server, selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            ready.register(caller, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, caller)
            while not self._ended.is_set():
                for key, _ in ready.select(0.1):
                    content = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if not content:
                        return
                    if not self.silent:
                        key.data.sendall(content)

    def close(self) -> None:
        """Ends all connections."""
        self._ended.set()
        self._listening.close()


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Relay]:
    """In front of the server."""
    made = Relay(tmp_path_factory.mktemp("r"), postgres_server)
    yield made
    made.close()


@pytest.fixture
def sql(relay: Relay, postgres_server: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlJournal]:
    """A journal with one record, whose statements may take half a second."""
    monkeypatch.setattr(sql_dialects, "_LEAST_STATEMENT_MS", 300)
    monkeypatch.setattr(sql_dialects, "_GRACE_MS", 200)
    here = Path(relay._listening.getsockname()).parent
    journal = SqlJournal(postgres_url.replace(postgres_server, str(here)), timeout_s=0.3)
    write(journal, "first")
    yield journal
    journal.close()


def write(journal: SqlJournal, item_id: str) -> int:
    """Appends a record; its number."""
    return journal.append(DeleteItem(item_id)).result(30).seq


def test_nobody_waits_forever_for_a_silent_server(sql: SqlJournal, relay: Relay) -> None:
    """Writes and reads are refused; once it speaks again all goes on, and nothing has come twice or out of order."""
    relay.silent = True
    with pytest.raises(StorageUnavailable, match="cannot be written"):
        write(sql, "lost")
    with pytest.raises(StorageUnavailable):
        sql.last_seq()

    relay.silent = False

    last = write(sql, "second")
    assert [record.entry for record in sql.read()] == [DeleteItem("first"), DeleteItem("second")]
    assert sql.last_seq() == last


def test_a_server_that_falls_silent_is_given_up_for_lost(sql: SqlJournal, relay: Relay) -> None:
    """Also in the middle of a transaction; the connection is not used again."""
    with sql._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        relay.silent = True

        with pytest.raises(OperationalError, match=r"said nothing for 0\.5 s"):
            connection.exec_driver_sql("SELECT 2")
        assert connection.invalidated


def test_a_silent_server_does_not_keep_a_journal_open(sql: SqlJournal, relay: Relay) -> None:
    """What waits is refused, and the process can end."""
    relay.silent = True
    waiting = sql.append(DeleteItem("lost"))

    sql.close()

    assert isinstance(waiting.exception(0), StorageUnavailable)


def test_a_server_that_is_at_work_is_waited_for(sql: SqlJournal) -> None:
    """As long as the server itself lets a statement take."""
    with sql._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1 FROM pg_sleep(0.2)").scalar_one() == 1
