"""What was found for somebody before, and what of it still holds.

A list stays right until something is written that belongs into it. So a longer list than was asked for is kept, with
the changes that were known when it was made; when the same user asks again, it is made up for those since. Where too
little is left, nothing is said and the index is searched.
"""

import threading
from collections import OrderedDict

from service.adapters.made_up import made_up
from service.adapters.ranked import NamesOf, Ranked
from service.adapters.remembered import Remembered, weight
from service.adapters.segments import View
from service.queries import Hits, Query

MOST_CHANGES = 4096
"""Changes that are looked through."""


class Recollections:
    """Lists by who asked for them, the latest ``most`` of them; long ones count for several. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._found: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def remember(self, view: View, query: Query, k: int, ranked: Ranked) -> None:
        """Keeps what was found of ``k`` places."""
        if query.key is None or query.restricted or not self._most:
            return
        self._keep(query.key, Remembered.of(query, view.changes, ranked, whole=len(ranked.slots) < k))

    def recall(self, view: View, query: Query, names: NamesOf) -> Hits | None:
        """The list for a query, as a search would give it now; None where that cannot be told.

        Args:
            view: of the index, now.
            query: with the key of who asks.
            names: gives ids.
        """
        if query.key is None or query.restricted:
            return None
        data, changes = self._found.get(query.key), view.changes
        if data is None:
            return None
        found = Remembered.unpacked(data)
        if not found.answers(query, changes, MOST_CHANGES):
            return None
        after = made_up(found, changes, query, names)
        hits = after.hits(query.k, names) if after else None
        if hits is None:
            self._forget(query.key)
        elif after is not None and after is not found:
            self._keep(query.key, after)
        return hits

    def _keep(self, key: str, found: Remembered) -> None:
        data = found.packed()
        with self._lock:
            before = self._found.pop(key, None)
            self._found[key] = data
            self._weight += weight(data) - (weight(before) if before else 0)
            while self._weight > self._most:
                _, oldest = self._found.popitem(last=False)
                self._weight -= weight(oldest)

    def _forget(self, key: str) -> None:
        """Lets go of a list of which too little is right, so that it is not looked at again before the search."""
        with self._lock:
            if before := self._found.pop(key, None):
                self._weight -= weight(before)
