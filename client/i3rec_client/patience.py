"""How long to wait for a service that cannot store just now."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Pauses that double, up to a limit, until a total is spent; the last one is cut to what is left.

    Attributes:
        total_s: no pause ends later than this after the first began; 0 = none at all.
        first_s: of the pauses.
        longest_s: of a pause.
        sleep: waits that many seconds.
        clock: monotonic seconds.
    """

    total_s: float = 60.0
    first_s: float = 1.0
    longest_s: float = 30.0
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def pauses(self) -> Iterator[float]:
        """The seconds of each pause; to make it is the caller's."""
        end, pause = self.clock() + self.total_s, self.first_s
        while (left := end - self.clock()) > 0:
            yield min(pause, left)
            pause = min(2 * pause, self.longest_s)
