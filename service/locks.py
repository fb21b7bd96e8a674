"""Locks on single items."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from service.errors import Overloaded


class ItemLocks:
    """A lock for each item that is being written, in the order of asking; none for the others. On the event loop.

    Args:
        wait_s: how long others are waited for.
    """

    def __init__(self, wait_s: float = 10.0) -> None:
        self._wait_s = wait_s
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, item_ids: Collection[str]) -> AsyncIterator[None]:
        """Keeps others from writing these items meanwhile. Hold them before ``ServableHandle.writing()``.

        Raises:
            Overloaded: others have kept one of them for too long.
        """
        held: list[str] = []
        try:
            try:
                async with asyncio.timeout(self._wait_s):
                    for item_id in sorted(set(item_ids)):  # one order for all, so that no two wait for each other
                        await self._acquire(item_id)
                        held.append(item_id)
            except TimeoutError as exc:
                raise Overloaded(len(self)) from exc
            yield
        finally:
            for item_id in held:
                self._locks[item_id].release()
                self._leave(item_id)

    async def _acquire(self, item_id: str) -> None:
        self._users[item_id] += 1
        try:
            await self._locks.setdefault(item_id, asyncio.Lock()).acquire()
        except BaseException:
            self._leave(item_id)
            raise

    def _leave(self, item_id: str) -> None:
        self._users[item_id] -= 1
        if not self._users[item_id]:
            del self._users[item_id], self._locks[item_id]
