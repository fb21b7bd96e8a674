"""How much callers may ask, and how often keys may be guessed."""

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

_MOST_CALLERS = 10_000  # who are remembered; the one that was silent longest is forgotten
_OF_ONE = 64  # bits of an IPv6 address that tell one subscriber from others; who has them has all addresses below


class Allowances:
    """Gives each caller an allowance that fills up again.

    Args:
        per_second: how fast, in the long run; above 0.
        burst: how much there is after a silence.
        clock: monotonic seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._burst = burst
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller → (allowance left, when)

    def take(self, caller: str) -> float:
        """Takes one from a caller's allowance; where there is none, how many seconds until there is."""
        now = self._clock()
        left = self._left(caller, now)
        wait_s = self._wait_s(left)
        self._spent[caller] = (left if wait_s else left - 1, now)
        self._spent.move_to_end(caller)
        if len(self._spent) > _MOST_CALLERS:
            self._spent.popitem(last=False)
        return wait_s

    def wait_s(self, caller: str) -> float:
        """How many seconds until a caller has any left; 0 where that is so now. Takes nothing."""
        return self._wait_s(self._left(caller, self._clock())) if caller in self._spent else 0.0

    def _left(self, caller: str, now: float) -> float:
        left, since = self._spent.get(caller, (float(self._burst), now))
        return min(self._burst, left + (now - since) * self.per_second)

    def _wait_s(self, left: float) -> float:
        return 0.0 if left >= 1 else (1 - left) / self.per_second


class Guesses:
    """Bounds how often keys can be guessed from one address.

    An unknown key costs one of the address's allowance. Where none is left no key is looked at, as the right one would
    stand out among refusals; but for those that were right from there before, so that one caller with an old key does
    not keep out all who share an address.

    Args:
        allowances: of addresses.
    """

    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()  # addresses, and digests of keys

    def wait_s(self, address: str, digest: bytes) -> float:
        """How many seconds until a key from an address may be looked at; 0 = now."""
        wait_s = self._allowances.wait_s(address)
        return 0.0 if wait_s and (address, digest) in self._right else wait_s

    def note(self, address: str, digest: bytes, *, right: bool) -> None:
        """Notes whether a key was a known one."""
        if not right:
            self._allowances.take(address)
            return
        self._right[address, digest] = None
        self._right.move_to_end((address, digest))
        if len(self._right) > _MOST_CALLERS:
            self._right.popitem(last=False)


def address_of(scope: Scope) -> str:
    """Where a request comes from: an IPv4 address, or of an IPv6 address the network of its subscriber."""
    client = scope.get("client")
    return _subscriber(client[0]) if client else ""


@lru_cache(maxsize=4096)
def _subscriber(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:  # a proxy may say that it does not know
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or IPv6Network((int(address), _OF_ONE), strict=False))
