"""What comes and goes on the wire: requests within bounds and in time, heads and bodies of answers in one call."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.api.problems import MEDIA_TYPE, RETRY_AFTER_S, problem_of

_MOST_HEAD = 1 << 18  # bytes before a request's body, and of what may follow it
_MOST_FIELDS = 256  # of either
_LARGE = 1 << 16  # to copy such a body costs more than a second call


@dataclass(slots=True)
class Room:
    """How many connections there may be at once.

    Attributes:
        most: so many.
        refused: how many found no room, since somebody last looked.
    """

    most: int = 1000
    refused: int = 0


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol.

    By itself it writes heads and bodies apart, and for a short list the calls cost the most. It takes heads of any
    length, which are read before anybody asks for a key, as long as they may take, and any number of connections.

    Args:
        room: for connections.
        given: what uvicorn gives to its own.
    """

    _head = 0  # bytes of what has not ended and is no body: of a head, or after a chunk; below 0: nothing such
    _awaited: object = None  # the request after which the next was awaited, or the one that had begun, at the last look
    _since = 0.0  # when that was so first, by the loop's clock

    def __init__(self, *, room: Room | None = None, **given: Any) -> None:
        super().__init__(**given)
        self._room = room or Room()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins with a connection."""
        super().connection_made(PairedWrites(transport, self.loop))  # type: ignore[arg-type]
        self._since = self.loop.time()
        if len(self.connections) > self._room.most and not self._make_room():
            self._room.refused += 1
            self._refuse(503, "so many connections are open already", {"retry-after": RETRY_AFTER_S})

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        if self._head >= 0:
            self._head += len(data)
        super().data_received(data)
        if self._head > _MOST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request, or what follows its body, is too long.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a field of a head, or one that follows a body."""
        if len(self.headers) >= _MOST_FIELDS:
            raise ValueError("too many fields")  # answered with 400
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Ends a head."""
        self._head = -1
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """Begins a chunk. The last is empty; fields may follow it, which are not among those of the head."""
        self._head = 0
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._head = -1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a request."""
        self._head = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no request, and ends the connection; within an answer nothing else can be said."""
        last = self._last
        if self.pipeline or (last and last.response_started and not last.response_complete):
            self.transport.close()
        else:
            super().send_400_response(msg)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing that was asked for is to be answered."""
        last = self._last
        return (last is None or last.response_complete) and not self.transport.is_closing()

    @property
    def since(self) -> float:
        """When that began, by the loop's clock, as far as was seen."""
        return self._since

    def look(self, patience_s: float) -> None:
        """Ends the connection where the head of a request is late; call it every second.

        Where part of it has come, with a 408. What was answered without its body being read counts for nothing more.
        """
        now = self.loop.time()
        if not self.is_waiting:
            self._since = now
            return
        last = self._last
        begun = self.scope is not (last.scope if last else None)
        awaited = self.scope if begun else last
        if awaited is not self._awaited:
            self._awaited, self._since = awaited, now
        elif now - self._since > patience_s:
            if begun:
                self._refuse(408, f"expected the head of a request within {patience_s:g} s")
            else:
                self.transport.close()

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request whose head has come."""
        return self.cycle  # of which uvicorn says that there always is one

    def _make_room(self) -> bool:
        """Closes the connection that has waited for a request the longest; False where none waits."""
        others = (each for each in self.connections if isinstance(each, HttpProtocol) and each is not self)
        longest = min((each for each in others if each.is_waiting), key=lambda each: each.since, default=None)
        if longest:
            longest.transport.close()
        return longest is not None

    def _refuse(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Answers for the application, before any request, and ends the connection."""
        body = orjson.dumps(problem_of(HTTPException(status, detail)) | {"instance": None})
        own = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close", **(headers or {})}
        fields = [*self.server_state.default_headers, *((name.encode(), value.encode()) for name, value in own.items())]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()


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
