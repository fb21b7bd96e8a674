"""``Idempotency-Key``: once done, twice answered."""

import tracemalloc
from collections.abc import Callable

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api import idempotency
from service.api.idempotency import Idempotency

pytestmark = pytest.mark.anyio

KEY = {"Idempotency-Key": "k1"}


class Counting:
    """An app that answers with the number of the request and its body; a gate can hold it."""

    def __init__(self, status: int = 200, gate: anyio.Event | None = None) -> None:
        self.calls = 0
        self.status = status
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        self.calls += 1
        body = (await receive())["body"]
        if self._gate:
            await self._gate.wait()
        answer = Response(b"%d:" % self.calls + body, self.status, {"X-Call": str(self.calls)})
        await answer(scope, receive, send)


def client_of(app: ASGIApp, clock: Callable[[], float] = lambda: 0.0) -> httpx.AsyncClient:
    """A client of an app behind the middleware."""
    transport = httpx.ASGITransport(Idempotency(app, clock))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_repetition_is_answered_as_the_first_time() -> None:
    """Status, headers and body, marked as a repetition; the app is asked once."""
    app = Counting(201)
    async with client_of(app) as client:
        first, second = [await client.post("/items", content=b"a", headers=KEY) for _ in range(2)]

    assert app.calls == 1
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content == b"1:a"
    assert second.headers["x-call"] == "1"
    assert [answer.headers.get("idempotent-replayed") for answer in (first, second)] == [None, "true"]


async def test_what_differs_is_another_request() -> None:
    """Another key, path or caller; requests without a key, and those that are no POST, are not remembered."""
    app = Counting()
    async with client_of(app) as client:
        await client.post("/items", content=b"a", headers=KEY)
        for headers, path in ((KEY, "/interactions"), ({"Idempotency-Key": "k2"}, "/items"), ({}, "/items")):
            await client.post(path, content=b"a", headers=headers)
        await client.post("/items", content=b"a", headers=KEY | {"X-API-Key": "somebody"})
        await client.patch("/items", content=b"a", headers=KEY)

    assert app.calls == 6


@pytest.mark.parametrize(("status", "calls"), [(503, 2), (507, 2), (429, 2), (422, 1), (201, 1)])
async def test_not_now_of_a_single_item_is_not_kept(status: int, calls: int) -> None:
    """Whoever sends a batch again wants the items that could not be written to be written."""
    asked = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        asked += 1
        await JSONResponse({"results": [{"status": 200}, {"status": status}]}, 207)(scope, receive, send)

    async with client_of(app) as client:
        for _ in range(2):
            await client.post("/items/batch", content=b"[]", headers=KEY)

    assert asked == calls


@pytest.mark.parametrize(("path", "content"), [("/items", b"b"), ("/items?dry=1", b"a")], ids=["body", "query"])
async def test_another_request_is_refused(path: str, content: bytes) -> None:
    """With the header's place; the app is not asked, nor is the answer to another query given."""
    app = Counting()
    async with client_of(app) as client:
        await client.post("/items", content=b"a", headers=KEY)
        answer = await client.post(path, content=content, headers=KEY)

    assert (answer.status_code, app.calls) == (422, 1)
    assert answer.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"


async def test_repetition_while_under_way_is_refused() -> None:
    """409 until the first is answered."""
    gate = anyio.Event()
    app = Counting(gate=gate)
    async with client_of(app) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.post("/items", content=b"a", headers=KEY))
        await anyio.wait_all_tasks_blocked()
        early = await client.post("/items", content=b"a", headers=KEY)
        gate.set()
        await anyio.wait_all_tasks_blocked()
        late = await client.post("/items", content=b"a", headers=KEY)

    assert (early.status_code, early.headers["retry-after"]) == (409, "1")
    assert (late.status_code, late.content) == (200, b"1:a")


@pytest.mark.parametrize(("status", "calls"), [(404, 1), (422, 1), (429, 2), (500, 2), (503, 2)])
async def test_not_now_is_no_answer(status: int, calls: int) -> None:
    """Refusals that will stay are kept; those that may pass are tried again."""
    app = Counting(status)
    async with client_of(app) as client:
        for _ in range(2):
            await client.post("/items", content=b"a", headers=KEY)

    assert app.calls == calls


async def test_broken_app_leaves_no_trace() -> None:
    """After an exception the key is free."""
    calls = 0

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError
        await Response(b"fine")(scope, receive, send)

    async with client_of(broken) as client:
        with pytest.raises(RuntimeError):
            await client.post("/items", headers=KEY)
        assert (await client.post("/items", headers=KEY)).content == b"fine"


async def test_answers_are_kept_for_a_day() -> None:
    """And no longer."""
    now = 0.0
    app = Counting()
    async with client_of(app, lambda: now) as client:
        for now in (0.0, 86_399.0, 86_401.0):  # noqa: B007 - the clock reads it
            await client.post("/items", headers=KEY)

    assert app.calls == 2


async def test_oldest_answers_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes."""
    monkeypatch.setattr(idempotency, "_MOST_ANSWERS", 3)
    monkeypatch.setattr(idempotency, "_MOST_BYTES", 100)
    app = Counting()
    async with client_of(app) as client:

        async def post(key: str, size: int = 1) -> bool:
            answer = await client.post("/items", content=b"a" * size, headers={"Idempotency-Key": key})
            return "idempotent-replayed" in answer.headers

        for key in "abcd":
            await post(key)
        found = {key: await post(key) for key in "dcb"}
        assert found == {"d": True, "c": True, "b": True}
        await post("large", 98)
        assert not await post("d")
        assert not await post("a")


async def test_long_paths_are_not_kept() -> None:
    """An answer is kept under a digest of its place, whatever that is as text."""
    app = Counting()
    kept = Idempotency(app)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(_: Message) -> None:
        pass

    tracemalloc.start()
    try:
        for number in range(50):
            head = {"path": f"/{number}/{'a' * 50_000}", "headers": [(b"idempotency-key", b"k1")]}
            await kept({"type": "http", "method": "POST", **head}, receive, send)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert app.calls == 50
    assert held < 1 << 20


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"Idempotency-Key": "x" * 257}, "visible"),
        ({"Idempotency-Key": ""}, "visible"),
        ({"Idempotency-Key": "a b"}, "visible"),
        (KEY | {"Content-Type": "application/x-ndjson"}, "stream"),
        (KEY | {"Content-Type": "Application/x-NDJSON; charset=utf-8"}, "stream"),
    ],
)
async def test_unusable_keys_are_refused(headers: dict[str, str], detail: str) -> None:
    """Too long, empty, or on a stream."""
    app = Counting()
    async with client_of(app) as client:
        answer = await client.post("/items/batch", content=b"a", headers=headers)

    assert (answer.status_code, app.calls) == (422, 0)
    assert detail in answer.json()["detail"]


async def test_requests_that_are_cut_off_are_nobodys() -> None:
    """The app never hears of one, and the whole request may come under the same key."""
    app, said = Counting(), list[Message]()
    middleware = Idempotency(app)
    scope = {"type": "http", "method": "POST", "path": "/items", "headers": [(b"idempotency-key", b"k1")]}

    async def send(message: Message) -> None:
        said.append(message)

    async def ask(*messages: Message) -> None:
        left = iter(messages)

        async def receive() -> Message:
            return next(left)

        await middleware(scope | {"client": ("test", 1), "state": {}}, receive, send)

    await ask({"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"})
    assert (app.calls, said) == (0, [])
    await ask({"type": "http.request", "body": b"abc", "more_body": False})
    assert [message.get("body", message.get("status")) for message in said] == [200, b"1:abc"]


async def test_app_does_it_once(client: httpx.AsyncClient) -> None:
    """Two interactions of one key without event ids are one."""
    body = {"user_id": "somebody", "item_id": "i03"}
    answers = [await client.post("/interactions", json=body, headers=KEY) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["seq"] for answer in answers}) == 1
    too_large = await client.post(
        "/items", content=b"x" * (5 << 20), headers={**KEY, "Content-Type": "application/json"}
    )
    assert too_large.status_code == 413


async def test_answers_tell_where_time_went(client: httpx.AsyncClient) -> None:
    """``Server-Timing`` names the stages of a write, each with its milliseconds, and the whole."""
    answer = await client.post("/items", json={"item_id": "x"})

    entries = dict(entry.split(";dur=") for entry in answer.headers["server-timing"].split(", "))
    assert {"encode", "journal", "index", "total"} <= set(entries)
    assert all(float(entries[name]) <= float(entries["total"]) for name in entries)


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "X-Index-Seq"])
async def test_other_conditions_make_another_request(client: httpx.AsyncClient, name: str) -> None:
    """The first answer is not that of a request with the same body that expects something else."""
    body = {"item_id": "x"} if name != "X-Index-Seq" else {"history": []}
    path = "/items" if name != "X-Index-Seq" else "/recommend"
    first = await client.post(path, json=body, headers={"Idempotency-Key": "k"})

    other = await client.post(path, json=body, headers={"Idempotency-Key": "k", name: '"7"'})
    again = await client.post(path, json=body, headers={"Idempotency-Key": "k"})

    assert other.status_code == 422
    assert other.json()["errors"][0]["pointer"] == "/header/Idempotency-Key"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
