"""ASGI middleware that bounds request bodies."""

from collections.abc import Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import refuse_http_exception


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


def _content_length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None
