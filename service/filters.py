"""The one place that decides what a request may be shown."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.chosen import Chosen
from service.domain import Vector
from service.facets import AttributeIs
from service.postings import ascending
from service.queries import Query
from service.servable import Servable

Rows = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Filter:
    """What one request may be shown: items that exist and are listed, less those blocked for this request.

    Attributes:
        ids: ids kept from this request alone: seen by the user, or excluded by the caller ...
        rows: ... and rows of the bundle's items, likewise; None = no more.
        only: where given, the items to choose from, such as those of a category.
    """

    servable: Servable
    ids: frozenset[str]
    now: datetime
    only: Chosen | None = None
    rows: Rows | None = None

    @cached_property
    def blocked(self) -> frozenset[str]:
        """All ids kept from this request alone."""
        return self.ids if self.rows is None else self.ids.union(self.servable.bundle.items.ids(self.rows.tolist()))

    def allows(self, item_id: str) -> bool:
        """Whether the item may be shown: not blocked, and not hidden, unavailable, expired or deleted."""
        if item_id in self.blocked or (self.only is not None and item_id not in self.only):
            return False
        return self.servable.visible(item_id, self.now)

    def without(self, categories: Collection[str]) -> "Filter":
        """The same, but for the items of some categories."""
        theirs = self.servable.facets.matching(categories, ()) if categories else None
        if theirs is None:
            return self
        rows = theirs.rows if self.rows is None else ascending(np.concatenate((self.rows, theirs.rows)))
        return replace(self, ids=self.ids | theirs.ids, rows=rows)

    def mask(self) -> NDArray[np.bool_] | None:
        """Which rows of the bundle's items there is a point in looking at, (n_items,); None = all of them."""
        if self.only is None and self.rows is None:
            return None
        items = self.servable.bundle.items
        mask = np.full(len(items), self.only is None)
        if self.only is not None:
            mask[self.only.rows] = True
            mask[[row for item_id in self.only.ids if (row := items.get(item_id)) is not None]] = True
        if self.rows is not None:
            mask[self.rows] = False
        return mask

    def query(self, vector: Vector, k: int, key: str | None = None) -> Query:
        """What to ask the index, so that it finds what may be shown.

        Args:
            vector: (d,) float32.
            k: how many items.
            key: who asks, if what is found may be remembered.

        What it finds may have been taken away by a writer that is between its two steps (state, then index); all else
        ``allows`` would say of it holds.
        """
        if self.only is None:
            return Query(vector, k, self.ids, None, self.rows, key)
        return Query(vector, k, self.ids, self.only.ids, self.rows, key, self.only.rows)


def make_filter(
    servable: Servable,
    *,
    seen: Iterable[str] = (),
    trained: Rows | None = None,
    exclude: Iterable[str] = (),
    now: datetime,
    categories: Collection[str] = (),
    attributes: Collection[AttributeIs] = (),
) -> Filter:
    """The filter of one request; takes what has expired by ``now`` out of the index.

    Args:
        servable: the model version that serves.
        seen: ids the user has interacted with.
        trained: rows of the bundle's items the user has interacted with.
        exclude: ids the caller does not want.
        now: the time of the request.
        categories: items must be of one of these at least; none = all items.
        attributes: conditions of which items must fulfil every one.
    """
    servable.expire(now)
    only = servable.facets.matching(categories, attributes) if categories or attributes else None
    return Filter(servable, frozenset(seen).union(exclude), now, only, trained)
