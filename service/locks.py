"""Locks on single items."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

from service.errors import Overloaded

_Queue = deque[asyncio.Future[None]]


class ItemLocks:
    """A lock for each item that is being written, in the order of asking; none for the others. On the event loop.

    Args:
        wait_s: how long others are waited for.
    """

    def __init__(self, wait_s: float = 10.0) -> None:
        self._wait_s = wait_s
        self._held: dict[str, _Queue | None] = {}  # and who waits for each; None = nobody ever did

    def __len__(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def hold(self, item_ids: Collection[str]) -> AsyncIterator[None]:
        """Keeps others from writing these items meanwhile. Hold them before ``ServableHandle.writing()``.

        Raises:
            Overloaded: others have kept one of them for too long.
        """
        wanted = set(item_ids)
        if self._held.keys().isdisjoint(wanted):  # as a rule
            self._held.update(dict.fromkeys(wanted))
        else:
            await self._acquire_all(wanted)
        try:
            yield
        finally:
            self._release_all(wanted)

    async def _acquire_all(self, wanted: Iterable[str]) -> None:
        held: list[str] = []
        try:
            async with asyncio.timeout(self._wait_s):
                for item_id in sorted(wanted):  # one order for all, so that no two wait for each other
                    await self._acquire(item_id)
                    held.append(item_id)
        except TimeoutError as exc:
            others = sum(not turn.done() for queue in self._held.values() for turn in queue or ())
            refusal = Overloaded(others + 1)
            self._release_all(held)
            raise refusal from exc
        except BaseException:
            self._release_all(held)
            raise

    async def _acquire(self, item_id: str) -> None:
        if item_id not in self._held:
            self._held[item_id] = None
            return
        queue = self._held[item_id]
        if queue is None:
            queue = self._held[item_id] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except BaseException:
            if not turn.cancelled():  # it was ours already
                self._release_all([item_id])
            raise

    def _release_all(self, held: Iterable[str]) -> None:
        for item_id in held:
            queue = self._held[item_id]
            while queue:
                turn = queue.popleft()
                if not turn.done():  # whoever has gone away has cancelled theirs
                    turn.set_result(None)
                    break
            else:
                del self._held[item_id]
