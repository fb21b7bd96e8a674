"""Batches of interactions, each with an item to compare it with. No per-sample Python."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import NothingToLearn

_STEPS = 8  # about so many steps at least make an epoch, also where there are few interactions


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Interactions, each beside an item that its user has not got.

    Attributes:
        users, positives, negatives: (b,) int64 rows.
    """

    users: NDArray[np.int64]
    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]


_REDRAWS = 16  # a negative that keeps falling on the user's own items is left as it is


class PairSampler:
    """Walks over all interactions once an epoch, each with one negative.

    Negatives are uniform over the items with training interactions that are not the user's own; held-out and new items
    are never among them. Where a user has nearly everything, a negative may be the user's own after all.
    """

    def __init__(
        self, indptr: NDArray[np.int64], indices: NDArray[np.int32], n_items: int, *, batch_pairs: int
    ) -> None:
        if not len(indices):
            raise NothingToLearn("expected at least one training interaction, found none")
        self._users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        self._items = indices.astype(np.int64)
        self._population = np.unique(self._items)
        self._n_items = n_items
        self._pairs = np.unique(self._users * n_items + self._items)
        self._batch_pairs = min(batch_pairs, -(-len(indices) // _STEPS))

    def epoch(self, rng: np.random.Generator) -> Iterator[PairBatch]:
        """Yields the batches of one epoch, interactions shuffled."""
        order = rng.permutation(len(self._items))
        users, positives = self._users[order], self._items[order]
        negatives = self._draw(users, rng)
        for start in range(0, len(order), self._batch_pairs):
            batch = slice(start, start + self._batch_pairs)
            yield PairBatch(users[batch], positives[batch], negatives[batch])

    def _draw(self, users: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        negatives = rng.choice(self._population, len(users))
        for _ in range(_REDRAWS):
            own = np.flatnonzero(self._has(users, negatives))
            if not len(own):
                break
            negatives[own] = rng.choice(self._population, len(own))
        return negatives

    def _has(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        pairs = users * self._n_items + items
        found = np.minimum(np.searchsorted(self._pairs, pairs), len(self._pairs) - 1)
        return np.asarray(self._pairs[found] == pairs)
