"""The server: listens, holds connections within bounds, and says where it serves."""

import asyncio
import contextlib
import logging
import resource
import socket
import sys
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from service.settings import PREFIX, Settings
from service.wire import HttpProtocol, Room

logger = logging.getLogger(__name__)

_TICKS = 10  # of uvicorn's, in a second
_OTHER_FILES = 128  # that the service may have open: of the journal, of models, connections to Redis and PostgreSQL
_UNREAD_MS = 300_000
_HEADERS = [("X-Content-Type-Options", "nosniff")]  # of every answer, its own refusals among them


def serve(app: ASGIApp, settings: Settings) -> int:
    """Serves until a signal ends it; returns the exit status (3: it could not start).

    Raises:
        SystemExit: it cannot listen where it should.
    """
    room = room_for(settings.max_connections)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(HttpProtocol, room=room),  # type: ignore[arg-type]  # called as the class would be
        ws="none",  # else handshakes pass the guards, and stand in the log with what was asked for
        log_config=None,
        access_log=False,
        server_header=False,
        headers=_HEADERS,
        # By itself uvicorn believes whoever is on this machine, and what FORWARDED_ALLOW_IPS says.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in settings.trusted_proxies],
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )
    listening = listen(config)
    server = Server(config, room, settings.head_timeout_s)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        server.run(sockets=[listening])
    return 0 if server.started else 3


def room_for(most: int) -> Room:
    """Room for so many connections, or for fewer where the process may not open so many files.

    What it may open is raised as far as that is needed, and allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Room(most)
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # some systems have a bound of their own
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    if soft < wanted:
        logger.warning("few_open_files", extra={"allowed": soft, "needed": wanted})
    return Room(min(most, max(soft - _OTHER_FILES, soft // 2)))


def listen(config: uvicorn.Config) -> socket.socket:
    """The socket at which connections come.

    Raises:
        SystemExit: the address is taken, or none of this machine's.
    """
    try:
        listening = config.bind_socket()
    except SystemExit:  # it has logged why
        where = f"{config.host}:{config.port}"
        print(f"{PREFIX}HOST, {PREFIX}PORT: the service cannot listen on {where}", file=sys.stderr)
        raise
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Connections have it from the socket that they come by: who reads nothing of an answer for so long is gone.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MS)
    return listening


class Server(uvicorn.Server):
    """uvicorn's, which also says where it serves, and looks after connections that keep it waiting.

    Args:
        config: of uvicorn.
        room: what connections have.
        head_timeout_s: how long the head of a request may take.
    """

    def __init__(self, config: uvicorn.Config, room: Room, head_timeout_s: float) -> None:
        super().__init__(config)
        self._room = room
        self._head_timeout_s = head_timeout_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the application and listens; a start may have to read a long journal first."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            with contextlib.suppress(OSError):  # nobody reads what it says
                print(f"I3Rec serves on http://{shown}:{port}", flush=True)

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second, and every second a look at all connections: none has a timer."""
        if counter % _TICKS == 0:
            for connection in [*self.server_state.connections]:
                if isinstance(connection, HttpProtocol):
                    connection.look(self._head_timeout_s)
            if self._room.refused:
                logger.warning("connections_refused", extra={"count": self._room.refused, "most": self._room.most})
                self._room.refused = 0
        return await super().on_tick(counter)
