"""Items the model was not trained on, and how often they were shown."""

import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

_FEW = 32  # so many are moved one by one
_Place = tuple[int, int, str]  # -times shown, seq, id


class Newcomers:
    """The new items in the order in which they are to be tried: the least shown first, of these the latest written.

    So every new item gets its share of being shown, whatever the order in which they came. How often an item was shown
    is known to this process only and is forgotten with it; then it is merely tried some more. One writer at a time for
    each item; readers see a state that was.

    To count what is shown takes no time: items are moved once somebody asks for the order, which few lists do.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: list[_Place] = []  # ascending; the last is the first to be tried, as the latest written come last
        self._moved: dict[str, _Place] = {}  # those that were shown since they got their place, and that place
        self._seqs: dict[str, int] = {}
        self._shown: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seqs)

    @property
    def shown(self) -> int:
        """How many of them were shown at least once."""
        return len(self._shown)

    def split(self, until: int) -> tuple[Iterator[str], Iterator[str]]:
        """The items that were shown less than ``until`` times, and the others, as of now; 0 = no bound."""
        with self._lock:  # a writer moves items in two steps
            if self._moved:
                self._move()
            order = self._order.copy()
        cut = bisect_left(order, (1 - until,)) if until else 0
        # One by one: most lists want a few of what may be a hundred thousand.
        return _ids(order, len(order), cut), _ids(order, cut, 0)

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
                    if item_id not in self._moved:
                        self._moved[item_id] = self._place(item_id)
                    self._shown[item_id] = self._shown.get(item_id, 0) + 1
        return new

    def inherit(self, other: "Newcomers") -> None:
        """Takes over how often items were shown."""
        shown = other._shown.copy()  # noqa: SLF001 - one of us; dict.copy() is one atomic step
        with self._lock:
            self._shown = {item_id: times for item_id, times in shown.items() if item_id in self._seqs}
            self._moved.clear()
            self._order = sorted(map(self._place, self._seqs))

    def _place(self, item_id: str) -> _Place:
        return -self._shown.get(item_id, 0), self._seqs[item_id], item_id

    def _take_out(self, item_id: str) -> None:
        if item_id in self._seqs:
            place = self._moved.pop(item_id, None) or self._place(item_id)
            del self._order[bisect_left(self._order, place)]

    def _move(self) -> None:
        """Gives those that were shown their places."""
        if len(self._moved) > _FEW:
            stay = [place for place in self._order if place[2] not in self._moved]
            self._order = sorted([*stay, *sorted(map(self._place, self._moved))])
            self._moved.clear()
        for item_id in list(self._moved):
            self._take_out(item_id)
            insort(self._order, self._place(item_id))


def _ids(order: Sequence[_Place], stop: int, start: int) -> Iterator[str]:
    """The ids at these places, the last first."""
    return (order[place][2] for place in range(stop - 1, start - 1, -1))
