"""What one search is asked, and what it answers, in terms of slots."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Numbers
from service.domain import Vector
from service.queries import Hits, Mark

NamesOf = Callable[[Sequence[int]], list[str]]  # the ids of slots


class Ask(NamedTuple):
    """A query in terms of slots.

    Attributes:
        vector: (d,) float32, in C order.
        k: at least 1.
        exclude: slots.
        allow: slots; None = all.
    """

    vector: Vector
    k: int
    exclude: Numbers
    allow: Numbers | None = None


class Ranked(NamedTuple):
    """What was found for a query: slots and exact scores (n,), best first, ties by id."""

    slots: NDArray[np.integer[Any]]
    scores: NDArray[np.float64]

    def hits(self, names: NamesOf, most: int, found_at: Mark) -> Hits:
        """The best, as many as are wanted."""
        return Hits(self.slots[:most].tolist(), self.scores[:most].tolist(), names, found_at)


def sort_ties(slots: NDArray[np.integer[Any]], equal: Sequence[int], names: NamesOf) -> None:
    """Orders slots by id where neighbours have equal scores, given the first place of each such pair."""
    start = 0
    while start < len(equal):
        end = start + 1
        while end < len(equal) and equal[end] == equal[end - 1] + 1:
            end += 1
        run = slice(equal[start], equal[end - 1] + 2)
        tied = slots[run].tolist()
        slots[run] = [slot for _, slot in sorted(zip(names(tied), tied, strict=True))]
        start = end
