"""Items the model was not trained on, and how often they were shown."""

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable


class Newcomers:
    """The new items in the order in which they are to be tried: the least shown first, of these the latest written.

    So every new item gets its share of being shown, whatever the order in which they came. How often an item was shown
    is known to this process only and is forgotten with it; then it is merely tried some more. One writer at a time for
    each item; readers see a state that was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: list[tuple[int, int, str]] = []  # (times shown, -seq, id), ascending
        self._seqs: dict[str, int] = {}
        self._shown: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._order)

    @property
    def shown(self) -> int:
        """How many of them were shown at least once."""
        return len(self._shown)

    def split(self, until: int) -> tuple[list[str], list[str]]:
        """The items that were shown less than ``until`` times, and the others; 0 = no bound."""
        # list.copy() is one atomic step: searches must not wait for a writer here.
        order = self._order.copy()
        cut = bisect_left(order, (until,)) if until else len(order)
        return [item_id for _, _, item_id in order[:cut]], [item_id for _, _, item_id in order[cut:]]

    def put(self, item_id: str, seq: int) -> None:
        """Takes an item in, or notes that it was written anew."""
        with self._lock:
            self._take_out(item_id)
            self._seqs[item_id] = seq
            insort(self._order, self._place(item_id))

    def remove(self, item_id: str) -> None:
        """Forgets an item."""
        with self._lock:
            self._take_out(item_id)
            self._seqs.pop(item_id, None)
            self._shown.pop(item_id, None)

    def note_shown(self, item_ids: Iterable[str]) -> int:
        """Counts that items were shown; returns how many of them are new."""
        new = 0
        if not self._seqs:
            return new
        with self._lock:
            for item_id in item_ids:
                if item_id in self._seqs:
                    new += 1
                    self._take_out(item_id)
                    self._shown[item_id] = self._shown.get(item_id, 0) + 1
                    insort(self._order, self._place(item_id))
        return new

    def inherit(self, other: "Newcomers") -> None:
        """Takes over how often items were shown."""
        shown = other._shown.copy()  # noqa: SLF001 - one of us; dict.copy() is one atomic step
        with self._lock:
            self._shown = {item_id: times for item_id, times in shown.items() if item_id in self._seqs}
            self._order = sorted(map(self._place, self._seqs))

    def _place(self, item_id: str) -> tuple[int, int, str]:
        return self._shown.get(item_id, 0), -self._seqs[item_id], item_id

    def _take_out(self, item_id: str) -> None:
        if item_id in self._seqs:
            del self._order[bisect_left(self._order, self._place(item_id))]
