"""The one place that decides what a request may be shown."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from service.servable import Servable


@dataclass(frozen=True, slots=True)
class Filter:
    """What one request may be shown: items that exist and are listed, less those blocked for this request.

    Attributes:
        blocked: ids kept from this request alone: seen by the user, or excluded by the caller.
    """

    servable: Servable
    blocked: frozenset[str]
    now: datetime

    def allows(self, item_id: str) -> bool:
        """Whether the item may be shown: not blocked, and not hidden, unavailable, expired or deleted."""
        return item_id not in self.blocked and self.servable.visible(item_id, self.now)


def make_filter(servable: Servable, *, seen: Iterable[str], exclude: Iterable[str], now: datetime) -> Filter:
    """The filter of one request; takes what has expired by ``now`` out of the index."""
    servable.expire(now)
    return Filter(servable, frozenset(seen) | frozenset(exclude), now)
