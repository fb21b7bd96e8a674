"""The one place that decides what a request may be shown."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from service.facets import AttributeIs
from service.servable import Servable


@dataclass(frozen=True, slots=True)
class Filter:
    """What one request may be shown: items that exist and are listed, less those blocked for this request.

    Attributes:
        blocked: ids kept from this request alone: seen by the user, or excluded by the caller.
        only: where given, the ids to choose from, such as those of a category.
    """

    servable: Servable
    blocked: frozenset[str]
    now: datetime
    only: frozenset[str] | None = None

    def allows(self, item_id: str) -> bool:
        """Whether the item may be shown: not blocked, and not hidden, unavailable, expired or deleted."""
        if item_id in self.blocked or (self.only is not None and item_id not in self.only):
            return False
        return self.servable.visible(item_id, self.now)


def make_filter(
    servable: Servable,
    *,
    seen: Iterable[str],
    exclude: Iterable[str],
    now: datetime,
    categories: Collection[str] = (),
    attributes: Collection[AttributeIs] = (),
) -> Filter:
    """The filter of one request; takes what has expired by ``now`` out of the index.

    Args:
        servable: the model version that serves.
        seen: ids the user has interacted with.
        exclude: ids the caller does not want.
        now: the time of the request.
        categories: items must be of one of these at least; none = all items.
        attributes: conditions of which items must fulfil every one.
    """
    servable.expire(now)
    only = servable.facets.matching(categories, attributes)
    return Filter(servable, frozenset(seen) | frozenset(exclude), now, only)
