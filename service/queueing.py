"""Work on threads, with a bound on how much may wait for one."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from service.errors import Overloaded

T = TypeVar("T")


async def in_thread(call: Callable[[], T], limiter: CapacityLimiter, most_waiting: int) -> T:
    """Runs a call on a worker thread.

    Waiting longer helps nobody where all wait: whoever comes then is told to come again, while it costs little.

    Args:
        call: what to run.
        limiter: how many may run at the same time.
        most_waiting: how many may wait for that.

    Raises:
        Overloaded: so many wait already.
    """
    waiting = limiter.statistics().tasks_waiting
    if waiting >= most_waiting:
        raise Overloaded(waiting)
    return await to_thread.run_sync(call, limiter=limiter)
