"""Threads whose work nobody waits for, but the end of the process."""

import threading
from collections.abc import Callable


class Ended(Exception):
    """The process is about to end, and with it work that nobody waits for."""


class Workers:
    """Starts threads, and waits for them at the end.

    They have the priority of all others: with a lower one they would keep all others waiting whenever they hold
    Python's lock. A library that computes while the process takes itself apart may end it by a fault: so work looks
    now and then whether it is to end, and whoever owns the workers closes them.
    """

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[], object], name: str) -> threading.Thread | None:
        """Starts work on a thread of its own; None once closed."""
        with self._lock:
            if self._ended.is_set():
                return None
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()
        return thread

    @property
    def ended(self) -> bool:
        """Whether all work is to end."""
        return self._ended.is_set()

    def check(self) -> None:
        """To be called by work between its steps.

        Raises:
            Ended: it is to end.
        """
        if self._ended.is_set():
            raise Ended

    def rest(self, seconds: float) -> None:
        """Waits so long, or until the end."""
        self._ended.wait(seconds)

    def close(self) -> None:
        """Has all work end at its next step, and waits for that."""
        with self._lock:
            self._ended.set()
        for thread in self._threads:
            thread.join()
