"""What may be shown, ranked, a piece at a time: as much of it as a page needs, and none of it twice looked for.

A page with a cap on its categories may need what stands far down. Items of categories that are full are then not looked
for any more: all before the place that was reached were looked at, and none of those that were refused can fit later.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, dropwhile
from typing import Protocol

from service.domain import Vector
from service.exploration import Exploration
from service.filters import Filter
from service.queries import Hit


class Ranked(Protocol):
    """Hits, best first.

    Attributes:
        ended: whether there are no more than were given.
    """

    ended: bool

    def more(self, full: Collection[str]) -> Iterable[Hit]:
        """The next ones, perhaps some of those before again; those of the categories ``full`` may be left out.

        Take or refuse each before you ask for the one after it.
        """
        ...


class Personal:
    """By inner product with a vector, ties by id.

    Args:
        allowed: what may be shown.
        taste: (d,).
        wanted: how many are looked for at first.
    """

    def __init__(self, allowed: Filter, taste: Vector, wanted: int) -> None:
        self.ended = False
        self._allowed, self._taste, self._wanted = allowed, taste, wanted
        self._full: Collection[str] | None = None

    def more(self, full: Collection[str]) -> Sequence[Hit]:
        """See ``Ranked``."""
        if full == self._full:
            self._wanted *= 2
        self._full = full
        hits = best(self._allowed.without(full), self._taste, self._wanted)
        self.ended = len(hits) < self._wanted
        return hits


class Popular:
    """Items of the model by popularity, ties by id, with new ones at every so many-th place; see ``service.lists``.

    Args:
        allowed: what may be shown.
        exploration: how new items get their chance.
        wanted: how many are given at a time.
        refused: whether an item cannot stand on the page beside those that were taken: it has no place then.
    """

    def __init__(
        self, allowed: Filter, exploration: Exploration, wanted: int, refused: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.ended = False
        self._allowed, self._every, self._wanted, self._refused = allowed, exploration.every, wanted, refused
        to_try, tried = allowed.servable.newcomers.split(exploration.until)
        self._new, self._last = filter(allowed.allows, to_try), filter(allowed.allows, tried)
        self._full: Collection[str] = frozenset()
        self._reached: tuple[float, str] | None = None
        self._trained = self._popular(allowed)
        self._hits = self._interleaved()

    def more(self, full: Collection[str]) -> Iterator[Hit]:
        """See ``Ranked``."""
        if full != self._full:
            self._full = full
            self._trained = self._popular(self._allowed.without(full))
        for _ in range(self._wanted):
            hit = next(self._hits, None)
            if hit is None:
                self.ended = True
                return
            yield hit

    def _popular(self, among: Filter) -> Iterator[tuple[str, float]]:
        """Trained items with their popularity, from behind the place that was reached."""
        pairs = self._allowed.servable.popular(among.mask())
        if (reached := self._reached) is not None:
            pairs = dropwhile(lambda pair: (-pair[1], pair[0]) <= reached, pairs)
        # Not ``among.allows``, which would spell out the ids of all its rows.
        return (pair for pair in pairs if self._allowed.allows(pair[0]))

    def _interleaved(self) -> Iterator[Hit]:
        score: float | None = None
        place = 1
        while (pair := next(self._trained, None)) is not None:
            item_id, popularity = pair
            while self._every and place % self._every == 0 and (explored := next(self._new, None)) is not None:
                place += not self._refused(explored)
                yield Hit(explored, popularity if score is None else score)
            score, self._reached = popularity, (-popularity, item_id)
            place += not self._refused(item_id)
            yield Hit(item_id, popularity)
        yield from (Hit(item_id, score or 0.0) for item_id in chain(self._new, self._last))


def best(allowed: Filter, taste: Vector, k: int) -> Sequence[Hit]:
    """The k items of highest inner product with a vector (d,), ties by id."""
    query = allowed.query(taste, k)
    while True:
        (hits,) = allowed.servable.index.search_many([query])
        # A writer may be between its two steps (state, then index): what it takes away is searched around.
        gone = {hit.item_id for hit in hits if not allowed.servable.visible(hit.item_id, allowed.now)}
        if not gone:
            return hits
        query = query._replace(exclude={*query.exclude, *gone})
