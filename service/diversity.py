"""Lists that are not all of a kind: maximal marginal relevance, and caps on categories."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.domain import Vector
from service.queries import Hit

_Categories = Callable[[str], Sequence[str]]


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


def capped(hits: Sequence[Hit], categories_of: _Categories, most: int, counts: Counter[str]) -> list[Hit]:
    """The hits in their order, but for those whose category stands ``most`` times before them already.

    ``counts`` are those of the hits before, by category; these hits are added.
    """
    return [hit for hit in hits if fits(counts, categories_of(hit.item_id), most)]


def fits(counts: Counter[str], categories: Sequence[str], most: int) -> bool:
    """Whether an item of these categories may follow those that were counted; counts it, if so."""
    if any(counts[category] >= most for category in categories):
        return False
    counts.update(set(categories))
    return True


def _relevance(hits: Sequence[Hit]) -> NDArray[np.float64]:
    scores = np.array([hit.score for hit in hits])
    spread = scores.max() - scores.min()
    return np.asarray((scores - scores.min()) / spread if spread else np.ones(len(hits)))


def _cosines(vectors: Sequence[Vector]) -> NDArray[np.float64]:
    rows = np.stack(vectors).astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(rows @ rows.T)
