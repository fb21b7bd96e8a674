"""When to try again, and how long to wait before. Does no waiting itself."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from i3rec_client.call import Call
from i3rec_client.errors import ApiError, TooManyRequests, TransportError, Unavailable


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long a call is tried. Between attempts the wait doubles, cut short by up to a half at random.

    Attributes:
        attempts: at most, the first included; 1 = no retries.
        total_s: no attempt begins later than this after the first; an attempt that has begun ends by its own timeouts.
        first_wait_s: after the first attempt.
        longest_wait_s: between two attempts, where the service asks for no longer one.
        clock: monotonic seconds.
        chance: from [0, 1), a new one each time.
    """

    attempts: int = 5
    total_s: float = 60.0
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


class Attempts:
    """The attempts at one call."""

    def __init__(self, call: Call[object], retry: Retry) -> None:
        self._call = call
        self._retry = retry
        self._since = retry.clock()
        self._failed = 0
        self.unclear = False
        """Whether an attempt failed that may have done what was asked for."""

    def wait_s(self, error: ApiError | TransportError) -> float | None:
        """How long to wait after an attempt that failed, or None to give up."""
        self._failed += 1
        self.unclear = self.unclear or _is_unclear(error)
        if self._failed >= self._retry.attempts or not self._is_worthwhile(error):
            return None
        wait_s = self._backoff_s(error)
        left_s = self._retry.total_s - (self._retry.clock() - self._since)
        return wait_s if wait_s <= left_s else None

    def _is_worthwhile(self, error: ApiError | TransportError) -> bool:
        if not self._call.patient:
            return False
        if isinstance(error, TransportError):
            return error.passing and (self._call.repeatable or not error.reached)
        if isinstance(error, TooManyRequests):  # turned away before anything of the request was read
            return True
        return isinstance(error, Unavailable) and self._call.repeatable

    def _backoff_s(self, error: ApiError | TransportError) -> float:
        retry = self._retry
        # The exponent is bounded, for floats are.
        longest = min(retry.longest_wait_s, retry.first_wait_s * 2.0 ** min(self._failed - 1, 30))
        jittered = longest * (1 - retry.chance() / 2)
        asked = (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0
        return asked + jittered  # not all at the same moment, where several were told the same


def _is_unclear(error: ApiError | TransportError) -> bool:
    if isinstance(error, TransportError):
        return error.reached
    # The deadline passed while it worked, the disk was lost under what it wrote, or a proxy lost it while it answered.
    return isinstance(error, Unavailable)
