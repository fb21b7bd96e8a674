"""Telling other processes through Redis that there is something new in the journal. Nobody relies on being told."""

import asyncio
import logging
import uuid
from collections.abc import Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_AGAIN_S = 2.0
_LISTEN_S = 5.0
_FAILURES = (RedisError, OSError, TimeoutError)


class RedisWakeups:
    """One channel for each journal; used on the event loop, except for ``wrote``.

    Args:
        url: of the server.
        timeout_s: how long to wait for a connection or an answer.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._redis = Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        self._me = uuid.uuid4().bytes
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wrote(self) -> None:
        """Notes that something was written here; from any thread."""
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the service is stopping
            logger.debug("wakeup_not_sent", exc_info=True)

    async def tell(self, journal: str) -> None:
        """Tells the others whenever something was written, until cancelled; much in a row is told once.

        Args:
            journal: its identity.
        """
        self._loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._redis.publish(_channel(journal), self._me)
            except Exception:  # whatever it is: the others will look by themselves
                logger.debug("wakeup_not_sent", exc_info=True)
                await asyncio.sleep(_AGAIN_S)

    async def listen(self, journal: str, wake: Callable[[], object]) -> None:
        """Calls ``wake`` whenever somebody else has written, until cancelled; connects anew where the server went."""
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(_channel(journal))
                    while True:
                        message = await channel.get_message(timeout=_LISTEN_S)
                        if message is not None and message["data"] != self._me:
                            wake()
            except Exception:  # whatever a server says: what others wrote is looked for all the same
                logger.debug("wakeups_not_heard", exc_info=True)
                await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """Closes the connections."""
        try:
            await self._redis.aclose()
        except _FAILURES:
            logger.debug("wakeups_close_failed", exc_info=True)


def _channel(journal: str) -> str:
    return f"i3rec:1:wake:{journal}"
