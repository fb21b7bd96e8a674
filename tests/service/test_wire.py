"""Head and body of an answer reach the operating system together, and nothing else changes."""

import asyncio
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from service.wire import HttpProtocol, PairedWrites

pytestmark = pytest.mark.anyio
WAIT_S = 30


class Transport:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        """One call of the system."""
        self.done.append(data)

    def close(self) -> None:
        """The end."""
        self.done.append("closed")

    def is_closing(self) -> bool:
        """Anything else a transport can do."""
        return "closed" in self.done


@pytest.fixture
async def pair() -> tuple[Transport, PairedWrites]:
    """A transport, and what pairs its writes; in a running loop."""
    transport = Transport()
    return transport, PairedWrites(transport, asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_two_writes_are_one(pair: tuple[Transport, PairedWrites]) -> None:
    """At once; what comes then begins anew."""
    transport, writes = pair
    writes.write(b"head")
    assert transport.done == []
    writes.write(b"body")
    assert transport.done == [b"headbody"]
    writes.write(b"next")
    await asyncio.sleep(0)
    assert transport.done == [b"headbody", b"next"]


async def test_one_write_does_not_wait_for_another(pair: tuple[Transport, PairedWrites]) -> None:
    """It is made before the loop does anything else."""
    transport, writes = pair
    writes.write(b"")
    writes.write(b"head")
    await asyncio.sleep(0)
    assert transport.done == [b"head"]
    await asyncio.sleep(0)
    assert transport.done == [b"head"]


async def test_large_bodies_are_not_copied(pair: tuple[Transport, PairedWrites]) -> None:
    """They are written as they are, after their head."""
    transport, writes = pair
    body = bytes(1 << 20)
    writes.write(b"head")
    writes.write(body)
    assert transport.done[0] == b"head"
    assert transport.done[1] is body


async def test_what_is_kept_is_written_before_the_end(pair: tuple[Transport, PairedWrites]) -> None:
    """And all else is the transport's own."""
    transport, writes = pair
    assert not writes.is_closing()
    writes.write(b"head")
    writes.close()
    await asyncio.sleep(0)
    assert transport.done == [b"head", "closed"]
    assert writes.is_closing()


async def answers_of(app: Starlette, protocol: Any, path: Path) -> list[tuple[Any, ...]]:
    """What comes of some requests, over a socket file."""
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, uds=str(path), log_config=None, lifespan="off"))
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    serving = asyncio.create_task(server.serve())
    with anyio.fail_after(WAIT_S):
        async with httpx.AsyncClient(base_url="http://here", transport=transport) as client:
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for that
                await asyncio.sleep(0.005)
            paths = ("/text/5", "/text/0", "/text/200000", "/stream", "/text/7", "/nowhere")
            answers = [await client.get(path) for path in paths]
            answers.append(await client.head("/text/9"))
            answers.append(await client.get("/text/3", headers={"Connection": "close"}))
        server.should_exit = True
        await serving
    return [(answer.status_code, answer.content, {**answer.headers, "date": ""}) for answer in answers]


@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 300, b"GET / HTTP/1.1\r\na: " + b"x" * 400_000, b"GET /" + b"x" * 400_000],
    ids=["fields", "value", "path"],
)
async def test_heads_without_end_are_refused(head: bytes, tmp_path: Path) -> None:
    """What comes before a key is asked for takes little memory; heads of some length are none of these."""
    app = Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("fine"))])
    path = tmp_path / "socket"
    server = uvicorn.Server(uvicorn.Config(app, uds=str(path), http=HttpProtocol, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    with anyio.fail_after(WAIT_S):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for that
            await asyncio.sleep(0.005)
        answers = []
        for request in (head, b"GET /%b HTTP/1.1\r\nConnection: close\r\n\r\n" % (b"x" * 60_000)):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(request)
            answers.append(await reader.read())
            writer.close()
        server.should_exit = True
        await serving

    assert answers[0].startswith(b"HTTP/1.1 400 Bad Request")
    assert answers[1].startswith(b"HTTP/1.1 200 OK")


async def test_answers_are_those_of_uvicorn(tmp_path: Path) -> None:
    """Short, empty, large and streamed ones, one after the other over the same connection, and the last one."""

    async def text(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * int(request.path_params["size"]))

    async def stream(_: Request) -> StreamingResponse:
        async def parts() -> Any:
            for number in range(5):
                yield f"part {number};"
                await asyncio.sleep(0.001)

        return StreamingResponse(parts())

    app = Starlette(routes=[Route("/text/{size}", text), Route("/stream", stream)])
    ours, theirs = [await answers_of(app, protocol, tmp_path / "socket") for protocol in (HttpProtocol, "httptools")]
    assert ours == theirs
    assert ours[3][1] == b"part 0;part 1;part 2;part 3;part 4;"
