"""Connections that keep the server waiting, and how many there may be: over socket files, with a small app."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service.server import Server, room_for
from service.wire import HttpProtocol, Room

pytestmark = pytest.mark.anyio

PATIENCE_S = 0.4
WAIT_S = 30
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Any]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, but of ``/unread``, waits at ``/wait`` for the end of it, and says what it got."""
    body, fields = b"", len(scope["headers"])
    while scope["path"] != "/unread":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    told = json.dumps({"body": len(body), "fields": (fields, len(scope["headers"]))}).encode()
    headers = [(b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


@asynccontextmanager
async def serving(path: Path, room: Room) -> AsyncIterator[Open]:
    """The server; gives a function that connects to it, until the end."""
    opened: list[Stream] = []

    async def connect() -> Stream:
        opened.append(await asyncio.open_unix_connection(str(path)))
        return opened[-1]

    protocol: Any = partial(HttpProtocol, room=room)
    config = uvicorn.Config(app, uds=str(path), http=protocol, log_config=None, lifespan="off")
    server = Server(config, room, head_timeout_s=PATIENCE_S)
    running = asyncio.create_task(server.serve())
    with anyio.fail_after(WAIT_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for that
            await asyncio.sleep(0.005)
        yield connect
        for _, writer in opened:
            writer.close()
        server.should_exit = True
        await running


@pytest.fixture
async def connect(tmp_path: Path) -> AsyncIterator[Open]:
    """Connects to a server with room for many."""
    async with serving(tmp_path / "socket", Room()) as connect:
        yield connect


async def drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Sends a byte and then another, each well within the server's patience, as long as it listens."""
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(PATIENCE_S / 4)


async def ending(stream: Stream, data: bytes, drop: bytes = b"") -> bytes:
    """All that comes until the server ends the connection, after some data at once and some byte by byte."""
    reader, writer = stream
    writer.write(data)
    dripping = asyncio.create_task(drip(writer, drop))
    said = b""
    with contextlib.suppress(ConnectionError):  # where it had not read all that was sent
        while part := await reader.read(1 << 16):
            said += part
    dripping.cancel()
    return said


async def whole(stream: Stream, request: bytes) -> tuple[bytes, dict[str, Any]]:
    """Status line and content of the answer to a request."""
    reader, writer = stream
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head.split(b"\r\n")[0], json.loads(await reader.readexactly(length))


@pytest.mark.parametrize(
    ("data", "drop"),
    [(b"", b""), (b"\r\n", b"\r\n" * 500), (b"GET /unread HTTP/1.1\r\n\r\n", b"\r\n" * 500)],
    ids=["says nothing", "sends empty lines", "sends empty lines after a request"],
)
async def test_connections_that_ask_for_nothing_end(connect: Open, data: bytes, drop: bytes) -> None:
    """Without a word beyond the answers to what was asked for."""
    said = await ending(await connect(), data, drop)

    assert said.count(b"HTTP/1.1") == data.count(b"HTTP/1.1")
    assert b"408" not in said


@pytest.mark.parametrize(
    ("data", "drop"),
    [
        (b"GET /", b""),
        (b"", b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 1000),
        (b"GET /unread HTTP/1.1\r\n\r\nGET /second HTTP/1.1\r\n", b"X-Long: " + b"x" * 1000),
    ],
    ids=["half a head", "byte by byte", "a second one"],
)
async def test_heads_that_are_late_are_refused(connect: Open, data: bytes, drop: bytes) -> None:
    """With a problem document, however steadily they come."""
    said = await ending(await connect(), data, drop)

    head, _, body = said.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 408 Request Timeout\r\n" in head
    assert head.endswith(b"connection: close")
    assert json.loads(body)["type"] == "urn:i3rec:problem:request-timeout"


async def test_bodies_that_nobody_reads_end(connect: Open) -> None:
    """Who goes on sending what was answered already does not keep the connection."""
    request = b"POST /unread HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"

    said = await ending(await connect(), request, b"x" * 1000)

    assert (said.count(b"HTTP/1.1 "), said.count(b"HTTP/1.1 200 OK")) == (1, 1)


async def test_slow_bodies_are_waited_for(connect: Open) -> None:
    """The server's patience is for heads; who says how long a body may take is the application."""
    reader, writer = await connect()
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 20\r\n\r\n")

    await drip(writer, b"x" * 20)

    assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"


async def test_connections_may_rest_between_requests(connect: Open) -> None:
    """As long as each request comes in time."""
    stream = await connect()
    for _ in range(5):
        status, _ = await whole(stream, b"GET / HTTP/1.1\r\n\r\n")
        assert status == b"HTTP/1.1 200 OK"
        await asyncio.sleep(PATIENCE_S * 0.8)


async def test_fields_after_a_body_are_none_of_its_head(connect: Open) -> None:
    """Who guards by the fields of a head has seen them all."""
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-API-Key: a\r\nb: c\r\n\r\n"

    status, told = await whole(await connect(), chunked)

    assert status == b"HTTP/1.1 200 OK"
    assert told == {"body": 1, "fields": [1, 1]}


@pytest.mark.parametrize("body", [b"", b"3\r\nxyz\r\n"], ids=["no body", "a body"])
@pytest.mark.parametrize("fields", [b"a: " + b"x" * 4_000_000, b"a:\r\n" * 300], ids=["a long one", "many"])
async def test_fields_after_a_body_are_bounded(connect: Open, body: bytes, fields: bytes) -> None:
    """As those of a head are; whoever sends them never comes to their end."""
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    said = await ending(await connect(), head + body + b"0\r\n" + fields)

    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n")


async def test_large_chunks_have_no_such_bound(connect: Open) -> None:
    """Bodies are the application's."""
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    status, told = await whole(await connect(), head + 3 * chunk + b"0\r\n\r\n")

    assert (status, told["body"]) == (b"HTTP/1.1 200 OK", 3 << 20)


async def test_who_asks_finds_room(tmp_path: Path) -> None:
    """Connections on which nothing is asked for give way, the oldest first; with all of them busy the answer is 503."""
    room = Room(most=2)
    async with serving(tmp_path / "socket", room) as connect:
        silent = [await connect() for _ in range(2)]
        busy = [await connect() for _ in range(2)]
        for reader, writer in busy:
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
        gone = [await reader.read() for reader, _ in silent]
        refused = await ending(await connect(), b"")
        answers = [(await whole(stream, b"x"))[0] for stream in busy]
        last = await whole(await connect(), b"GET / HTTP/1.1\r\n\r\n")

    assert gone == [b"", b""]
    assert refused.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"retry-after: 2\r\n" in refused
    assert answers == [b"HTTP/1.1 200 OK"] * 2
    assert last[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("limits", "most", "soft"),
    [((5000, 5000), 1000, 5000), ((256, 4096), 1000, 1128), ((256, 512), 384, 512), ((100, 100), 50, 100)],
)
def test_room_leaves_files_to_others(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], most: int, soft: int
) -> None:
    """What the process may open is raised as far as is needed and allowed; beyond that there is less room."""
    now = limits

    def raise_to(_: int, wanted: tuple[int, int]) -> None:
        nonlocal now
        now = wanted

    monkeypatch.setattr("service.server.resource.getrlimit", lambda _: now)
    monkeypatch.setattr("service.server.resource.setrlimit", raise_to)

    assert room_for(1000).most == most
    assert now == (soft, limits[1])
