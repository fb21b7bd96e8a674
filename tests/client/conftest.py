"""The real app in this process or behind a real port, and a service whose answers are written down beforehand."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from i3rec_client import AsyncClient, Client, Retry
from model_store import ModelStore
from service.app import create_app
from service.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, published_store: ModelStore) -> Settings:
    """Settings of an app on the published store; CURRENT is polled often."""
    return Settings(
        model_store=published_store.root, journal_url=f"sqlite:///{tmp_path}/journal.sqlite3", model_poll_s=0.02
    )


RunApp = Callable[[Settings], AbstractAsyncContextManager[httpx.ASGITransport]]


@pytest.fixture
def run_app() -> RunApp:
    """Runs an app for a block, and gives a transport that leads to it without a socket."""

    @asynccontextmanager
    async def run(settings: Settings) -> AsyncIterator[httpx.ASGITransport]:
        app = create_app(settings)
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                scope["state"] = dict(state)  # as a server does
                await app(scope, receive, send)

            yield httpx.ASGITransport(with_state)

    return run


@pytest.fixture
async def client(run_app: RunApp, settings: Settings) -> AsyncIterator[AsyncClient]:
    """A client of a running app."""
    async with run_app(settings) as transport, AsyncClient("http://test", transport=transport) as client:
        yield client


class Scripted:
    """A service that gives one answer after another, the last for ever, and remembers what it was asked.

    An exception among the answers is raised instead. Waiting only moves the clock.
    """

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.now = 1000.0

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answers a request."""
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        """Passes the time."""
        self.waits.append(seconds)
        self.now += seconds

    def client(self, *, chance: float = 0.0, api_key: str | None = None, **retry: Any) -> Client:
        """A client of this service; unless ``chance`` is given nothing is random."""
        policy = Retry(clock=lambda: self.now, chance=lambda: chance, **retry)
        return Client(
            "http://test", api_key=api_key, retry=policy, transport=httpx.MockTransport(self.handle), sleep=self.sleep
        )


@pytest.fixture
def scripted() -> Callable[..., Scripted]:
    """Makes a service that answers as it is told."""
    return Scripted


Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serve() -> Serve:
    """Runs an app behind a free port of the loopback interface for a block, and gives its URL."""

    @contextmanager
    def run(settings: Settings) -> Iterator[str]:
        config = uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started:
                if time.monotonic() > deadline or not thread.is_alive():
                    pytest.fail("the server did not start")
                time.sleep(0.01)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)

    return run


@pytest.fixture
def url(settings: Settings, serve: Serve) -> Iterator[str]:
    """Where a running app can be reached by anybody on this machine."""
    with serve(settings) as url:
        yield url
