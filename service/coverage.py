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
        item_ids: the items of the version.
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
        self._watched = frozenset(item_ids.ids(rows.tolist()))
        self._window_s = window_s
        self._clock = clock
        self._last: dict[str, float] = {}  # when it was shown for the last time

    def note(self, item_ids: Iterable[str]) -> frozenset[str]:
        """Notes that items are shown; returns those of them that are watched: of the others nothing is noted."""
        shown = self._watched.intersection(item_ids)
        if shown:
            self._last.update(dict.fromkeys(shown, self._clock()))
        return shown

    def share(self, exists: Callable[[str], bool]) -> float:
        """The share, 0 to 1, of the items that exist; NaN where none does."""
        watched = [item_id for item_id in self._watched if exists(item_id)]
        last, since = self._last.copy(), self._clock() - self._window_s
        shown = sum(last.get(item_id, -np.inf) >= since for item_id in watched)
        return shown / len(watched) if watched else np.nan
