"""What may be shown, ranked, a piece at a time: as much of it as a page needs, and none of it twice looked for.

A page with a cap on its categories may need what stands far down. Items of categories that are full are then not looked
for any more: all before the place that was reached were looked at, and none of those that were refused can fit later.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
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

    def more(self, full: Collection[str]) -> Sequence[Hit]:
        """The next ones, perhaps some of those before again; those of the categories ``full`` may be left out."""
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
    """

    def __init__(self, allowed: Filter, exploration: Exploration, wanted: int) -> None:
        self.ended = False
        self._wanted = wanted
        to_try, tried = allowed.servable.newcomers.split(exploration.until)
        trained = (pair for pair in allowed.servable.popular(allowed.mask()) if allowed.allows(pair[0]))
        new, last = filter(allowed.allows, to_try), filter(allowed.allows, tried)
        self._hits = _interleave(trained, new, last, exploration.every)

    def more(self, full: Collection[str]) -> Sequence[Hit]:  # noqa: ARG002 - places count, whoever has them
        """See ``Ranked``."""
        hits = list(islice(self._hits, self._wanted))
        self.ended = len(hits) < self._wanted
        return hits


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


def _interleave(
    trained: Iterator[tuple[str, float]], new: Iterator[str], last: Iterator[str], every: int
) -> Iterator[Hit]:
    score: float | None = None
    place = 1
    for item_id, popularity in trained:
        while every and place % every == 0 and (explored := next(new, None)) is not None:
            yield Hit(explored, popularity if score is None else score)
            place += 1
        score = popularity
        yield Hit(item_id, score)
        place += 1
    yield from (Hit(item_id, score or 0.0) for item_id in chain(new, last))
