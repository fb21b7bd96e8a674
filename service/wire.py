"""How answers reach the wire: their head and their body in one call of the operating system."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LARGE = 1 << 16  # to copy such a body costs more than a second call


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol. By itself it writes heads and bodies apart, and for a short list the calls cost the most."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins with a connection."""
        super().connection_made(PairedWrites(transport, self.loop))  # type: ignore[arg-type]


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
