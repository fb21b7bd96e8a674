"""ASGI middleware that answers for requests that take too long."""

import asyncio
import math
from functools import partial

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.guard import refuse

_GRACE_S = 0.1  # for what can be broken off
_READS = frozenset({"GET", "HEAD"})  # of which nothing is finished in spite of the deadline


class Deadline:
    """Ends requests that take too long with a 504; an answer that has begun is left to end by itself.

    What a write had begun on disk is finished all the same, after the answer where that takes long: it may be repeated
    safely, as puts and deletes hold however often they are made, and interactions have event ids.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and waits for its answer to begin."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] in _READS:
            if await self._broken_off(scope, receive, send):
                await refuse_late(scope, receive, send, self._seconds)
        else:
            await self._write(scope, receive, _Late(scope, receive, send, self._seconds))

    async def _broken_off(self, scope: Scope, receive: Receive, send: Send) -> bool:
        with anyio.move_on_after(self._seconds) as limit:

            async def send_in_time(message: Message) -> None:
                limit.deadline = math.inf
                await send(message)

            await self._app(scope, receive, send_in_time)
        return limit.cancelled_caught

    async def _write(self, scope: Scope, receive: Receive, late: "_Late") -> None:
        try:
            if await self._broken_off(scope, receive, late):
                late.give_up()
        finally:
            await late.end()


class _Late:
    """Sends the answer, unless it comes too late: that has then been said meanwhile."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self._refuse = partial(refuse_late, scope, receive, send, seconds)
        self._send = send
        self._refusing: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds + _GRACE_S, self.give_up)

    async def __call__(self, message: Message) -> None:
        self._timer.cancel()
        if not self._refusing:
            await self._send(message)

    def give_up(self) -> None:
        """Answers that it took too long, unless that was answered."""
        if not self._refusing:
            self._refusing = asyncio.ensure_future(self._refuse())

    async def end(self) -> None:
        """Call it once the request is through."""
        self._timer.cancel()
        if self._refusing:
            await self._refusing


async def refuse_late(scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
    """Answers that it took too long."""
    await refuse(scope, receive, send, 504, f"expected an answer within {seconds:g} s")
