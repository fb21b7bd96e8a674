"""Whatever happens on the way to Redis, lists and writes go on, say so, and say so no longer once it is over."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from redis.asyncio import Redis

from model_store import ModelStore
from service.adapters.redis_cache import RedisCache
from service.app import create_app
from service.domain import ModelIdentity
from service.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.anyio]

LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"


class Wire:
    """A way to a Redis server through a TCP port of its own, on which things can go wrong."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._fault: str | bytes | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def suffer(self, fault: str | bytes | None) -> None:
        """From now on this befalls all connections: "refused", "silent", or what ``_befall`` knows; None = nothing.

        Bytes come in place of every reply.
        """
        self._fault = fault
        if fault == "refused":
            await self.close()
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Lets nobody in, and those who are in go."""
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, requests = await asyncio.open_unix_connection(self._socket)
        self._open |= {writer, requests}
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, requests), self._pass(replies, writer, back=True))
        self._open -= {writer, requests}

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool = False) -> None:
        """Passes on what comes, with what happens to it on the way, until either end hangs up."""
        with suppress(OSError):
            while data := await source.read(1 << 16):
                if self._fault == "silent":
                    continue
                target.write(await self._befall(data) if back else data)
                await target.drain()
                if back and self._fault == "cut":
                    break
        target.close()

    async def _befall(self, reply: bytes) -> bytes:
        match self._fault:
            case "delayed":
                await asyncio.sleep(2)  # long after anybody waits for it
            case "garbage":
                return b"\x00" + random.Random(len(reply)).randbytes(100)
            case "cut":  # and then the connection ends
                return reply[: len(reply) // 2]
            case bytes(instead):
                return instead
        return reply


@pytest.fixture
async def wire(redis_server: Any) -> AsyncIterator[Wire]:
    """A sound way to a Redis server."""
    wire = Wire(redis_server.url.removeprefix("unix://"))
    await wire.suffer(None)
    yield wire
    await wire.close()


@pytest.fixture
def settings(tmp_path: Path, published_store: ModelStore, wire: Wire) -> Settings:
    """A service with that Redis; it looks often whether the cache answers."""
    return Settings(
        model_store=published_store.root,
        journal_url=f"sqlite:///{tmp_path}/journal.sqlite3",
        redis_url=f"redis://127.0.0.1:{wire.port}",
        cache_timeout_s=0.5,  # a busy machine is no fault
        model_poll_s=0.02,
    )


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Runs an app with its lifespan and gives a client."""
    app = create_app(settings)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
            yield client


async def until(client: httpx.AsyncClient, **expected: object) -> None:
    """Waits until /readyz says so."""
    with anyio.fail_after(30):
        while not expected.items() <= (await client.get("/readyz")).json().items():  # noqa: ASYNC110 - asks over HTTP
            await anyio.sleep(0.01)


async def write_and_read(client: httpx.AsyncClient, name: str) -> set[str]:
    """Writes items, each of which is in the next list at once; returns what the lists say is degraded."""
    degraded: set[str] = set()
    for n in range(10):
        posted = await client.post("/items", json={"item_id": f"{name}{n}", "modalities": {"text": [1, n, 2, 3]}})
        assert posted.status_code == 201, posted.text
        answer = await client.get("/recommend/u0", params={"k": 500})
        assert answer.status_code == 200, answer.text
        assert f"{name}{n}" in {item["item_id"] for item in answer.json()["items"]}
        degraded |= set(answer.json()["degraded"])
    return degraded


async def write_and_read_soundly(client: httpx.AsyncClient, name: str) -> None:
    """Writes and reads until a round misses nothing: on a busy machine even a sound cache answers late at times."""
    with anyio.fail_after(60):
        for n in itertools.count():
            await until(client, degraded=[])
            if not await write_and_read(client, f"{name}{n}-"):
                return


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """White box: the service tries a cache again soon after it failed, so that the tests need not wait for it."""
    monkeypatch.setattr("service.adapters.redis_cache._OPEN_S", 0.2)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    "fault", ["refused", "silent", "delayed", "garbage", "cut", pytest.param(LOADING, id="loading")]
)
async def test_service_goes_on_without_its_cache(
    fault: str | bytes, settings: Settings, wire: Wire, published_store: ModelStore, make_version: Any
) -> None:
    """While the fault lasts, writes, lists and exchanges of the model go on and tell of it; afterwards all is well."""
    async with serve(settings) as client:
        await write_and_read_soundly(client, "before")

        await wire.suffer(fault)
        await until(client, degraded=["cache"])
        started = time.monotonic()
        assert await write_and_read(client, "meanwhile") == {"cache"}
        assert time.monotonic() - started < 30
        make_version(published_store, "v2", seed=1)
        await until(client, model_version="v2")

        await wire.suffer(None)
        await write_and_read_soundly(client, "after")

    async with Redis.from_url(settings.redis_url) as redis:
        assert await redis.keys("*:after*")


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    "reply",
    [b":1\r\n", b"*2\r\n+message\r\n+x\r\n", b"%1\r\n+a\r\n+b\r\n", b"*0\r\n"],
    ids=["number", "half a message", "map", "nothing"],
)
async def test_nothing_that_a_server_says_ends_the_service(
    reply: bytes, settings: Settings, wire: Wire, published_store: ModelStore, make_version: Any
) -> None:
    """Nor what runs beside the requests, which listens there as well: models are exchanged on."""
    async with serve(settings) as client:
        await wire.suffer(reply)
        for n in range(3):
            await write_and_read(client, f"meanwhile{n}-")
            await anyio.sleep(0.1)
        make_version(published_store, "v2", seed=1)
        await until(client, model_version="v2")

        await wire.suffer(None)
        await write_and_read_soundly(client, "after")


@pytest.mark.parametrize(
    "reply",
    [b":1\r\n", b"+OK\r\n", b"$-1\r\n", b"*0\r\n", b"*2\r\n$1\r\na\r\n$1\r\nb\r\n"],
    ids=["number", "text", "nothing", "too few", "too many"],
)
async def test_replies_to_something_else_are_misses(reply: bytes, settings: Settings, wire: Wire) -> None:
    """A sound reply of the wrong kind or length gives a miss for each key."""
    cache = RedisCache(settings.redis_url, ttl_s=60, timeout_s=30, namespace="j")
    assert await cache.ping()
    await wire.suffer(reply)

    try:
        assert await cache.get_many(ModelIdentity("v1", "0" * 64), [("a", 1)]) == [None]
    finally:
        await cache.close()


async def test_connection_that_ended_while_idle_is_no_failure(settings: Settings, wire: Wire) -> None:
    """Connections that a server or a firewall closes for idleness are replaced before a call fails on them."""
    cache = RedisCache(settings.redis_url, ttl_s=60, timeout_s=30, namespace="j")
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(cache.ping)
    await wire.suffer("refused")
    await wire.suffer(None)

    try:
        for _ in range(5):
            assert await cache.ping()
    finally:
        await cache.close()
