"""Lists that are not all of a kind: maximal marginal relevance, and caps on categories."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.domain import Vector
from service.queries import Hit


def diversified(hits: Sequence[Hit], vectors: Sequence[Vector], k: int, diversity: float) -> list[Hit]:
    """Chooses k hits by maximal marginal relevance (Carbonell & Goldstein 1998); best score first, ties by id.

    One after the other the hit is taken that has most of ``(1 - λ) · relevance - λ · max cos(hit, taken)``, relevance
    being the score scaled to [0, 1] over the hits.

    Args:
        hits: candidates, best first.
        vectors: theirs, (d,) each.
        k: how many to choose.
        diversity: λ in [0, 1]; 0 takes the first k.
    """
    if not diversity or len(hits) <= k:
        return list(hits[:k])
    relevance, cosines = _relevance(hits), _cosines(vectors)
    taken: list[int] = []
    closest = np.full(len(hits), -np.inf)
    left = np.ones(len(hits), dtype=bool)
    for _ in range(k):
        penalty = diversity * closest if taken else 0.0
        worth = np.where(left, (1 - diversity) * relevance - penalty, -np.inf)
        best = int(np.argmax(worth))  # the first of equals: the better ranked
        taken.append(best)
        left[best] = False
        closest = np.maximum(closest, cosines[best])
    return [hits[place] for place in sorted(taken)]


class Cap:
    """How many items of one category a page may have; counts those that were taken.

    Args:
        categories_of: an item.
        most: of each category; None = any number.
    """

    def __init__(self, categories_of: Callable[[str], Sequence[str]], most: int | None) -> None:
        self._categories_of = categories_of
        self._most = most
        self._counts: Counter[str] = Counter()
        self._full: set[str] = set()

    @property
    def full(self) -> frozenset[str]:
        """The categories that have as many as they may."""
        return frozenset(self._full)

    def refuses(self, item_id: str) -> bool:
        """Whether a category of the item is full."""
        return bool(self._full) and not self._full.isdisjoint(self._categories_of(item_id))

    def takes(self, item_id: str) -> bool:
        """Counts the item, if none of its categories is full; returns whether it did."""
        if self._most is None:
            return True
        names = set(self._categories_of(item_id))
        if not self._full.isdisjoint(names):
            return False
        self._counts.update(names)
        self._full.update(name for name in names if self._counts[name] >= self._most)
        return True


def _relevance(hits: Sequence[Hit]) -> NDArray[np.float64]:
    scores = np.array([hit.score for hit in hits])
    spread = scores.max() - scores.min()
    return np.asarray((scores - scores.min()) / spread if spread else np.ones(len(hits)))


def _cosines(vectors: Sequence[Vector]) -> NDArray[np.float64]:
    rows = np.stack(vectors).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(rows @ rows.T)
