"""A journal that is locked, full or cannot be written: writes are refused in time, reads go on, nothing half done."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import Interact, Item, PutItem

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

_TIMEOUT_S = 0.3
_FEW_PAGES = """
import sys
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from service.commands import main

@sa.event.listens_for(Engine, "connect")
def limit(connection, _):
    connection.execute("PRAGMA max_page_count=40")

sys.exit(main([]))
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The file of the journal."""
    return tmp_path / "journal.sqlite3"


@contextmanager
def locked(journal: Path) -> Iterator[None]:
    """Another process' transaction, from which the journal is locked for writing."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def writes(client: httpx.Client) -> dict[str, Callable[[], httpx.Response]]:
    """Every kind of write, each of something that is not there yet or is not to go."""
    event = {"user_id": "ann", "item_id": "i07", "event_id": "e"}
    return {
        "put": lambda: client.post("/items", json={"item_id": "refused", "title": "x" * 1000}),
        "patch": lambda: client.patch("/items/i02", json={"title": "refused"}),
        "delete": lambda: client.delete("/items/i03"),
        "interact": lambda: client.post("/interactions", json=[event]),
        "erase": lambda: client.delete("/users/bob"),
    }


def check_reads(client: httpx.Client) -> None:
    """Reads go on, and show nothing of what was refused."""
    assert client.get("/readyz").json()["degraded"] == []
    assert client.get("/items/refused").status_code == 404
    assert client.get("/items/i02").json()["title"] == "Item 2"
    answer = client.get("/recommend/ann", params={"k": 500})
    assert answer.status_code == 200
    assert answer.json()["degraded"] == []
    listed = {item["item_id"] for item in answer.json()["items"]}
    assert {"i03", "i07"} <= listed
    assert "refused" not in listed


def check_refused(client: httpx.Client, statuses: set[int]) -> None:
    """Every kind of write is refused with one of these statuses; 503 says when to come again."""
    for name, write in writes(client).items():
        answer = write()
        assert answer.status_code in statuses, (name, answer.text)
        assert answer.status_code != 503 or int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
    line = json.dumps({"item_id": "refused"}) + "\n"
    answer = client.post("/items/batch", content=2 * line, headers={"Content-Type": "application/x-ndjson"})
    *results, summary = map(json.loads, answer.text.splitlines())
    assert answer.status_code == 207
    assert summary == {"written": 0, "failed": 2}
    assert {result["status"] for result in results} <= statuses


def big(item_id: str) -> dict[str, Any]:
    """An item of 20 kB."""
    return {"item_id": item_id, "attributes": {f"a{n}": "x" * 4000 for n in range(5)}}


def fill(client: httpx.Client, most: int) -> list[str]:
    """Writes big items until one is refused; returns those that were not."""
    for n in range(most):
        if client.post("/items", json=big(f"big{n}")).status_code != 201:
            return [f"big{m}" for m in range(n)]
    pytest.fail(f"{most} items were written, and none was refused")


def items_in(journal: Path) -> list[str]:
    """The items put into a journal, in order; the database is sound."""
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with closing(SqlJournal(f"sqlite:///{journal}")) as opened:
        return [record.entry.item.item_id for record in opened.read() if isinstance(record.entry, PutItem)]


def test_locked_journal_refuses_writes_until_it_is_free(start_service: Any, journal: Path) -> None:
    """While another process writes, writes answer 503 after the timeout and reads go on; then all is as before."""
    service = start_service(journal_timeout_s=_TIMEOUT_S)
    client = service.client()
    with locked(journal):
        started = time.monotonic()
        answer = client.post("/items", json={"item_id": "refused"})
        waited = time.monotonic() - started
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:i3rec:problem:storage-unavailable")
        assert _TIMEOUT_S * 0.9 < waited < _TIMEOUT_S + 5
        check_refused(client, {503})
        with ThreadPoolExecutor(20) as pool:
            started = time.monotonic()
            refused = list(pool.map(lambda n: client.post("/items", json={"item_id": f"no{n}"}), range(20)))
            assert time.monotonic() - started < 2 * _TIMEOUT_S + 5
        assert {answer.status_code for answer in refused} == {503}
        check_reads(client)

    for name, write in writes(client).items():
        assert write().is_success, name
    service.kill()
    assert items_in(journal) == ["refused", "i02"]


def test_write_waits_for_a_lock_that_goes(start_service: Any, journal: Path) -> None:
    """A service that starts while another process writes serves lists; a write waits until that one is done."""
    SqlJournal(f"sqlite:///{journal}").close()
    with ThreadPoolExecutor(1) as pool:
        with locked(journal):
            client = start_service(journal_timeout_s=30).client()
            writing = pool.submit(client.post, "/items", json={"item_id": "patient"})
            check_reads(client)
            assert not writing.done()
        assert writing.result().status_code == 201


def test_writes_are_refused_while_files_cannot_grow(start_service: Any, journal: Path) -> None:
    """Where the disk takes nothing, or no more, what was refused is not there; what was acknowledged is; room heals."""
    service = start_service()
    client = service.client()
    assert client.post("/items", json={"item_id": "before"}).status_code == 201

    service.allow_files_of(0)
    check_refused(client, {503, 507})
    check_reads(client)
    service.allow_files_of(1 << 20)
    written = fill(client, most=200)
    assert client.post("/items", json=big("refused")).status_code in {503, 507}
    check_reads(client)
    assert {"before", *written} <= {item["item_id"] for item in client.get("/recommend/ann?k=500").json()["items"]}
    service.allow_files_of(-1)

    assert client.post("/items", json={"item_id": "healed"}).status_code == 201
    service.kill()
    assert written
    assert items_in(journal) == ["before", *written, "healed"]


def test_full_journal_says_so(start_service: Any, journal: Path) -> None:
    """A database that may not grow answers 507, in batches too; where there is room it takes writes again."""
    service = start_service(command=("-c", _FEW_PAGES))
    client = service.client()
    written = fill(client, most=40)
    answer = client.post("/items", json=big("refused"))
    assert (answer.status_code, answer.json()["type"]) == (507, "urn:i3rec:problem:storage-full")
    answer = client.post("/items/batch", json=[big("refused"), big("refused")])
    assert [result["status"] for result in answer.json()["results"]] == [507, 507]
    check_reads(client)
    service.kill()

    assert written
    assert items_in(journal) == written
    with closing(SqlJournal(f"sqlite:///{journal}")) as roomy:
        assert roomy.append(PutItem(Item("roomy", title="x" * 20_000))).result().seq > len(written)


def test_refused_interactions_are_taken_once_when_repeated(start_service: Any, journal: Path) -> None:
    """A list of interactions that met a full disk is sent again, and each event of it counts once."""
    service = start_service()
    client = service.client()
    events = [{"user_id": "ann", "item_id": f"i{n % 12:02}", "event_id": f"e{n}"} for n in range(900)]
    service.allow_files_of(64 << 10)
    assert client.post("/interactions", json=events).status_code in {503, 507}
    service.allow_files_of(-1)

    again = client.post("/interactions", json=events).json()

    assert again["accepted"] + again["repeated"] == 900
    service.kill()
    with closing(SqlJournal(f"sqlite:///{journal}")) as opened:
        stored = [record.entry.event_id for record in opened.read() if isinstance(record.entry, Interact)]
    assert sorted(stored) == sorted(event["event_id"] for event in events)
