"""How much of the catalogue lists show: whether they go round among many items, or always show the same few."""

import time
from collections.abc import Callable, Iterable

import numpy as np

from model_store import IdMap

_SAMPLE = 2048  # with so many the share is known to a hundredth
_WINDOW_S = 3600.0


class Coverage:
    """Which share of a version's items stood in lists of late, told by a fixed sample of them. Thread-safe.

    Args:
        item_ids: the items of the version; they are told by their rows.
        most: how many of them are watched.
        window_s: for how long an item counts as shown.
        clock: tells the time, seconds.
    """

    def __init__(
        self,
        item_ids: IdMap,
        most: int = _SAMPLE,
        window_s: float = _WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        n = len(item_ids)
        rows = np.random.default_rng(0).choice(n, min(n, most), replace=False, shuffle=False)
        self._item_ids = item_ids
        self._watched = frozenset(rows.tolist())
        self._window_s = window_s
        self._clock = clock
        self._last: dict[int, float] = {}  # when it was shown for the last time

    def note(self, rows: Iterable[int]) -> frozenset[int]:
        """Notes that items are shown; returns those of them that are watched: of the others nothing is noted."""
        shown = self._watched.intersection(rows)
        if shown:
            self._last.update(dict.fromkeys(shown, self._clock()))
        return shown

    def share(self, exists: Callable[[str], bool]) -> float:
        """The share, 0 to 1, of the items that exist; NaN where none does."""
        watched = [row for row in self._watched if exists(self._item_ids.id(row))]
        last, since = self._last.copy(), self._clock() - self._window_s
        shown = sum(last.get(row, -np.inf) >= since for row in watched)
        return shown / len(watched) if watched else np.nan
