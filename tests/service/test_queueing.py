"""How much may wait."""

import threading
import time

import anyio
import pytest
from anyio import CapacityLimiter, to_thread

from service.errors import Overloaded
from service.queueing import Turns, in_thread

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


async def test_short_calls_are_carried_out_where_they_are_asked_for() -> None:
    """The first goes to a thread, as nobody knows how long it takes; then those that should be short do not."""
    turns, here = Turns(CapacityLimiter(2), at_once_s=10.0), threading.get_ident()

    assert await turns.run(threading.get_ident) != here
    assert await turns.run(threading.get_ident) == here


async def test_long_calls_go_to_threads() -> None:
    """Also where they have been short before, once one was seen that was not."""
    turns, here = Turns(CapacityLimiter(2), at_once_s=0.01), threading.get_ident()
    await turns.run(lambda: None)

    def work() -> int:
        time.sleep(0.2)
        return threading.get_ident()

    assert await turns.run(work) == here
    assert await turns.run(work) != here


async def test_calls_go_to_threads_while_one_is_there() -> None:
    """What runs there may hold what the next one needs."""
    gate, limiter, found = threading.Event(), CapacityLimiter(2), []
    turns, here = Turns(limiter, at_once_s=10.0), threading.get_ident()
    await turns.run(lambda: None)

    async def ask() -> None:
        found.append(await turns.run(threading.get_ident))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: to_thread.run_sync(gate.wait, limiter=limiter))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert found
    assert found[0] != here


@pytest.mark.parametrize("at_once_s", [0.0, 10.0])
async def test_what_a_call_raises_is_raised(at_once_s: float) -> None:
    """Wherever it runs; the calls after it are carried out all the same."""
    turns = Turns(CapacityLimiter(2), at_once_s)

    def fail() -> None:
        raise KeyError("it")

    await turns.run(lambda: None)
    with pytest.raises(KeyError, match="it"):
        await turns.run(fail)
    assert await turns.run(lambda: 3) == 3


async def test_so_many_may_wait_for_a_turn() -> None:
    """Where a bound is given; without one any number may."""
    gate, limiter = threading.Event(), CapacityLimiter(1)
    turns, done = Turns(limiter, at_once_s=0.0), []

    async def ask(most_waiting: int | None) -> None:
        done.append(await turns.run(lambda: gate.wait(10), most_waiting))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, 1)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ask, 1)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await ask(1)
        tasks.start_soon(ask, None)
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert done == [True, True, True]
