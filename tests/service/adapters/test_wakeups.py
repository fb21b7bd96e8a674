"""Processes that share a journal wake each other through Redis."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from service.adapters.redis_wakeups import RedisWakeups

pytestmark = [pytest.mark.anyio, pytest.mark.enable_socket]


Pair = tuple[RedisWakeups, "Ear", RedisWakeups, "Ear"]


class Ear:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard = 0

    def wake(self) -> None:
        """Hears."""
        self.heard += 1

    async def hears(self, once: Any) -> None:
        """Waits until it hears something, asking ``once`` again and again for it."""
        with anyio.fail_after(20):
            while not self.heard:
                once()
                await anyio.sleep(0.05)


@pytest.fixture
async def pair(redis_server: Any) -> AsyncIterator[Pair]:
    """Two processes on the journal ``j``, and what each hears."""
    one, other = (RedisWakeups(redis_server.url, timeout_s=1) for _ in range(2))
    ears = Ear(), Ear()
    async with anyio.create_task_group() as tasks:
        for wakeups, ear in zip((one, other), ears, strict=True):
            tasks.start_soon(wakeups.tell, "j")
            tasks.start_soon(wakeups.listen, "j", ear.wake)
        await anyio.sleep(0.1)
        yield one, ears[0], other, ears[1]
        tasks.cancel_scope.cancel()
    await one.close()
    await other.close()


async def test_others_hear_and_oneself_does_not(pair: Pair) -> None:
    """A write on any thread wakes the other process, not one's own."""
    one, own_ear, _, other_ear = pair

    def write() -> None:
        thread = threading.Thread(target=one.wrote)
        thread.start()
        thread.join()

    await other_ear.hears(write)
    assert own_ear.heard == 0


async def test_other_journals_are_not_heard(pair: Pair, redis_server: Any) -> None:
    """Each journal has a channel of its own."""
    one, own_ear, _, other_ear = pair
    stranger = RedisWakeups(redis_server.url, timeout_s=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stranger.tell, "another")
        await anyio.sleep(0.05)
        stranger.wrote()
        await other_ear.hears(one.wrote)
        tasks.cancel_scope.cancel()
    await stranger.close()
    assert own_ear.heard == 0


async def test_wakeups_outlive_the_server(pair: Pair, redis_server: Any) -> None:
    """They are heard again once it is back."""
    one, _, _, other_ear = pair
    await other_ear.hears(one.wrote)
    await anyio.to_thread.run_sync(redis_server.kill)
    one.wrote()
    await anyio.to_thread.run_sync(redis_server.start)
    other_ear.heard = 0

    await other_ear.hears(one.wrote)
