"""How much may wait."""

import threading

import anyio
import pytest
from anyio import CapacityLimiter

from service.errors import Overloaded
from service.queueing import in_thread

pytestmark = pytest.mark.anyio


async def test_so_many_may_wait_and_no_more() -> None:
    """One runs, two wait, the fourth is told to come again; once they are done there is room."""
    gate, limiter, done = threading.Event(), CapacityLimiter(1), []

    async def ask(name: str) -> None:
        done.append(await in_thread(lambda: gate.wait(10) and name, limiter, 2))

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(ask, name)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded, match="2 requests are waiting already"):
            await ask("d")
        gate.set()

    assert sorted(done) == ["a", "b", "c"]
    await ask("e")
    assert done[-1] == "e"
