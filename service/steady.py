"""Tasks beside the requests, which go on whatever happens in them."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

import anyio
from anyio.abc import TaskGroup

logger = logging.getLogger(__name__)

_PAUSE_S = 1.0
Ts = TypeVarTuple("Ts")


class Steady:
    """Starts tasks of a group. One that fails is started again after a pause: a service without it would be no service.

    Where one ended the group, as anything that a backend says and nobody expects may do it, requests would be refused
    for good by a process that is alive.

    Args:
        tasks: the group.
        pause_s: before a task is started again.
    """

    def __init__(self, tasks: TaskGroup, pause_s: float = _PAUSE_S) -> None:
        self._tasks = tasks
        self._pause_s = pause_s

    def start_soon(self, run: Callable[[*Ts], Awaitable[object]], *arguments: *Ts) -> None:
        """Starts a task that can be started again: until it ends by itself, or is cancelled."""
        self._tasks.start_soon(self._keep_running, run, arguments)

    async def _keep_running(self, run: Callable[[*Ts], Awaitable[object]], arguments: tuple[*Ts]) -> None:
        while True:
            try:
                await run(*arguments)
            except Exception:
                logger.exception("background_task_failed", extra={"task": getattr(run, "__qualname__", repr(run))})
                await anyio.sleep(self._pause_s)
            else:
                return
