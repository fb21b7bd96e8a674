"""ASGI middleware that bounds request bodies: how large they are, and how long they are silent."""

import asyncio
from collections.abc import Callable, Sequence

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem_of, refuse_http_exception
from service.request_context import request_id

_BODILESS = frozenset({"GET", "HEAD"})  # nobody waits for the body of one


class BodyLimit:
    """ASGI middleware: refuses bodies above a size, before reading them where they announce it.

    Args:
        app: is given what passes.
        max_bytes: the size.
        streams: tells requests whose route reads a body of any length piece by piece, within bounds of its own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, streams: Callable[[Scope], bool] = lambda _: False) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, counting what is read of its body."""
        if scope["type"] != "http" or self._streams(scope):
            await self._app(scope, receive, send)
            return
        read = 0
        too_large = HTTPException(413, f"expected at most {self._max_bytes} bytes")
        announced = _content_length(scope["headers"])
        if announced is not None and announced > self._max_bytes:
            response = await refuse_http_exception(Request(scope), too_large)
            await response(scope, receive, send)
            return

        async def counted_receive() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise too_large
            return message

        await self._app(scope, counted_receive, send)


class BodySilence:
    """ASGI middleware: ends requests with a 408 where nothing comes of a body that is waited for.

    Where the answer has begun by then, as that to a stream may, what had come whole is still dealt with as if the
    caller had gone away, and the problem is the answer's last line.

    Args:
        app: is given what passes.
        seconds: how long a body may be silent.
        streams: tells requests that are answered, line by line, before their body has come whole.
    """

    def __init__(self, app: ASGIApp, seconds: float, streams: Callable[[Scope], bool] = lambda _: False) -> None:
        self._app = app
        self._seconds = seconds
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and waits for its body no longer than that."""
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            await self._app(scope, receive, send)
        else:
            awaited = _Awaited(receive, send, self._seconds)
            await self._app(scope, awaited.receive, awaited.send if self._streams(scope) else send)


class _Awaited:
    """A request whose body is waited for; only where it may be answered meanwhile it need know what is sent."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._answering = self._whole = False
        self._late: HTTPException | None = None

    async def receive(self) -> Message:
        """What comes next.

        Raises:
            HTTPException: nothing came.
        """
        if self._whole:  # what comes then is that the caller has gone away, whenever that is
            return await self._receive()
        try:
            async with asyncio.timeout(self._seconds):
                message = await self._receive()
        except TimeoutError:
            late = HTTPException(408, f"expected more of the body within {self._seconds:g} s", {"Connection": "close"})
            if not self._answering:
                raise late from None
            self._late = late
            return {"type": "http.disconnect"}
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Passes the answer on; at its end it is said why no more was answered."""
        self._answering = True
        if self._late and message["type"] == "http.response.body" and not message.get("more_body", False):
            problem = problem_of(self._late) | {"instance": request_id.get()}
            line = orjson.dumps(problem, option=orjson.OPT_APPEND_NEWLINE)
            message = {**message, "body": message.get("body", b"") + line}
        await self._send(message)


def _content_length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None
