"""What comes and goes on the wire: heads of requests up to a length, heads and bodies of answers in one call."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HEAD = 1 << 18  # bytes before a request's body
_MOST_FIELDS = 256  # of a head, and of what may follow a body
_LARGE = 1 << 16  # to copy such a body costs more than a second call


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol.

    By itself it writes heads and bodies apart, and for a short list the calls cost the most. And it takes heads of any
    length, which are read before anybody asks for a key.
    """

    _head = 0  # bytes of a head that has not ended; below 0: it has

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins with a connection."""
        super().connection_made(PairedWrites(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        if self._head >= 0:
            self._head += len(data)
        super().data_received(data)
        if self._head > _MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a field of a head, or one that follows a body."""
        if len(self.headers) >= _MOST_FIELDS:
            raise ValueError("too many fields")  # answered with 400
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Ends a head."""
        self._head = -1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Ends a request."""
        self._head = 0
        super().on_message_complete()


class PairedWrites:
    """A transport that keeps what is written until more is, or until the event loop's next round.

    Args:
        transport: writes to the connection; does everything else.
        loop: its event loop.
    """

    __slots__ = ("_kept", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        """Writes, now or soon, in order."""
        kept = self._kept
        if kept:
            self._kept = b""
            if len(data) < _LARGE:
                self._transport.write(kept + data)
            else:
                self._transport.write(kept)
                self._transport.write(data)
        elif data:
            self._kept = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Writes what is kept."""
        if self._kept:
            kept, self._kept = self._kept, b""
            self._transport.write(kept)

    def close(self) -> None:
        """Closes the connection once everything is written."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
