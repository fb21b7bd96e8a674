"""Connections that do not wait forever for a PostgreSQL server that says nothing.

The server ends statements that take too long by itself. Where it is frozen, or something on the way swallows what is
sent, nobody does: neither the driver nor the kernel can tell that from a server that is at work.
"""

import math
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


class Impatient(psycopg.Connection[Any]):
    """A connection that is given up for lost once the server has been silent for too long, in whatever it was asked.

    Attributes:
        longest_s: how long it may be silent.
    """

    longest_s = math.inf

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Waits for the answer to what was sent.

        Raises:
            psycopg.OperationalError: none came; the connection is closed.
        """
        return super().wait(_within(gen, self.longest_s, self.close), *args, **kwargs)


def _within(gen: Generator[Any, Any, T], longest_s: float, give_up: Callable[[], None]) -> Generator[Any, Any, T]:
    """Passes on what is waited for, and whether it has come; the driver says ten times a second that it has not."""
    since = time.monotonic()
    answer: Any = None  # starts the other
    while True:
        try:
            wanted = gen.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = yield wanted
        if answer:
            since = time.monotonic()
        elif time.monotonic() - since > longest_s:
            give_up()
            raise psycopg.OperationalError(f"the server has said nothing for {longest_s:g} s")
