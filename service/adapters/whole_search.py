"""Whole searches in one call of C: what is asked goes in, ranked slots of both segments come out.

Step by step a batch takes some thirty calls of numpy, and after most of them Python's lock has to be got back from
whoever has it by then. Here it is given away once.
"""

from collections.abc import Sequence

from service.adapters.candidates import Left
from service.adapters.interleaved import Interleaved, Segments
from service.adapters.kernels import Rounding
from service.adapters.ranked import Ask, NamesOf, Ranked, sort_ties
from service.adapters.segments import View
from service.domain import Matrix

_UNSETTLED = 16  # where one row of so many, and so many for each wanted, may be among the best, all are looked at


def most_told(n: int, k: int) -> int:
    """Of so many rows, how many of one query are told to be among the k best, at most."""
    return n // _UNSETTLED + _UNSETTLED * k


class WholeSearch:
    """Searches a main segment, and any delta beside it.

    Args:
        matrix: (n, d) float32 of the main segment, in C order.
        rounding: how it was rounded.
        interleaved: its rows in whole numbers.
        left: which of them may be found.
    """

    def __init__(self, matrix: Matrix, rounding: Rounding, interleaved: Interleaved, left: Left) -> None:
        self._matrix = matrix
        self._rounding = rounding
        self._interleaved = interleaved
        self._left = left

    def search(self, view: View, asks: Sequence[Ask], names: NamesOf) -> list[Ranked | None]:
        """What is best for queries without ``allow``; None for those of which eight bits tell too little."""
        main = view.main
        segments = Segments(
            self._matrix,
            self._left.but(view.main_dead).bits,
            main.slots,
            main.rows_by_slot,
            view.vectors,
            view.slots,
            view.delta_dead,
            view.longest,
        )
        k = max(ask.k for ask in asks)
        counts, slots, scores, equal = self._interleaved.search(
            segments, self._rounding, [(ask.vector, ask.exclude) for ask in asks], k, most_told(len(main), k)
        )
        if equal:
            slots = slots.copy()
            sort_ties(slots, equal, names)
        found: list[Ranked | None] = []
        start = 0
        for ask, count in zip(asks, counts, strict=True):
            place = slice(start, start + min(count, ask.k))
            found.append(Ranked(slots[place], scores[place]) if count >= 0 else None)
            start += max(count, 0)
        return found
