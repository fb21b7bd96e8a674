"""Work on threads, with a bound on how much may wait for one, and short work where it is asked for."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from anyio import CapacityLimiter, from_thread, to_thread

from service.errors import Overloaded
from service.pace import Pace

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


def give_up_if_late() -> None:
    """Ends a call on a worker thread whose caller waits no longer, as after the deadline; to be called now and then."""
    with suppress(RuntimeError):  # on other threads nobody can say
        from_thread.check_cancelled()


class Turns:
    """Runs calls of one kind: on worker threads, or on the event loop where those before took no time.

    A call that lets go of Python's lock some twenty times has to get it back as often, and waits up to half a
    millisecond for that each time where the event loop is busy. It is done sooner, and costs others less, in one go.

    Args:
        limiter: how many may run on threads at the same time; while any does, all go there.
        at_once_s: what is expected to take no longer is carried out on the event loop; 0 = nothing is.
    """

    def __init__(self, limiter: CapacityLimiter, at_once_s: float) -> None:
        self._limiter = limiter
        self._at_once_s = at_once_s
        self._pace = Pace()

    async def run(self, call: Callable[[], T], most_waiting: int | None = None) -> T:
        """Runs a call.

        Args:
            call: what to run.
            most_waiting: how many may wait for a thread; None = any number.

        Raises:
            Overloaded: so many wait already.
        """
        if not self._limiter.borrowed_tokens and self._pace.expected_s(1) <= self._at_once_s:
            started = time.perf_counter()
            try:
                return call()
            finally:
                self._pace.note(1, time.perf_counter() - started)

        def timed() -> tuple[T, float]:
            started = time.thread_time()  # as long as it waits for Python's lock it does not work
            return call(), time.thread_time() - started

        if most_waiting is None:
            done, seconds = await to_thread.run_sync(timed, limiter=self._limiter)
        else:
            done, seconds = await in_thread(timed, self._limiter, most_waiting)
        self._pace.note(1, seconds)
        return done
