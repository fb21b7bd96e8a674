"""Threads whose work nobody waits for, but the end of the process."""

import os
import threading
from collections.abc import Callable

_LEAST = 19


class Ended(Exception):
    """The process is about to end, and with it work that nobody waits for."""


class Workers:
    """Starts threads that run where the processor has nothing better to do, and waits for them at the end.

    A library that computes while the process takes itself apart may end it by a fault: so work looks now and then
    whether it is to end, and whoever owns the workers closes them.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], object], name: str) -> threading.Thread | None:
        """Starts work on a thread of its own; None once closed."""

        def run() -> None:
            _yield_to_others()
            work()

        with self._lock:
            if self._ended.is_set():
                return None
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()
        return thread

    def check(self) -> None:
        """To be called by work between its steps.

        Raises:
            Ended: it is to end.
        """
        if self._ended.is_set():
            raise Ended

    def close(self) -> None:
        """Has all work end at its next step, and waits for that."""
        with self._lock:
            self._ended.set()
        for thread in self._threads:
            thread.join()


def _yield_to_others() -> None:
    """Gives this thread, and those it starts, the lowest priority; on Linux alone, elsewhere it is the process's."""
    if hasattr(os, "sched_getaffinity"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST)
