"""Batches of users with the items that compete for them, and of pairs. No per-sample Python."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import NothingToLearn


@dataclass(frozen=True, slots=True)
class Batch:
    """Some users, split into what encodes them and what is to be predicted; items are positions in ``candidates``.

    Attributes:
        candidates: (c,) int64 item rows, ascending.
        sampled: (c,) bool, candidates drawn uniformly; the others are there because a user of the batch has them.
        n_population: how many items the sample stands for.
        history_users, history_items: (h,) int64 pairs that encode the users.
        target_users, target_items: (t,) int64 pairs to be predicted from them.
        n_users: users in the batch.
    """

    candidates: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    n_population: int
    history_users: NDArray[np.int64]
    history_items: NDArray[np.int64]
    target_users: NDArray[np.int64]
    target_items: NDArray[np.int64]
    n_users: int


_STEPS = 8  # at least so many steps make an epoch, also where there are few users


class UserSampler:
    """Walks over all users once an epoch, splitting each history anew into a given and a predicted part.

    Candidates come from ``population`` alone: items with training interactions. Held-out and new items are thereby
    never negatives, which would teach the model to bury them.
    """

    def __init__(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        population: NDArray[np.int64],
        *,
        batch_users: int,
        candidates: int,
        history_dropout: float,
    ) -> None:
        self._indptr = indptr
        self._indices = indices
        self._population = population
        self._candidates = candidates
        self._dropout = history_dropout
        # One interaction gives either a history or a target, never both.
        self._users = np.flatnonzero(np.diff(indptr) >= 2)  # noqa: PLR2004
        if not len(self._users):
            raise NothingToLearn("expected at least one user with two training interactions, found none")
        self._batch_users = min(batch_users, -(-len(self._users) // _STEPS))

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yields the batches of one epoch, users shuffled."""
        users = rng.permutation(self._users)
        for start in range(0, len(users), self._batch_users):
            yield self._batch(users[start : start + self._batch_users], rng)

    def _batch(self, users: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        owner, items = gather_rows(self._indptr, self._indices, users)
        target = self._choose_targets(owner, len(users), rng)
        candidates, sampled = self._choose_candidates(items, rng)
        position = np.searchsorted(candidates, items)
        return Batch(
            candidates=candidates,
            sampled=sampled,
            n_population=len(self._population),
            history_users=owner[~target],
            history_items=position[~target],
            target_users=owner[target],
            target_items=position[target],
            n_users=len(users),
        )

    def _choose_targets(self, owner: NDArray[np.int64], n_users: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Each interaction is a target with the dropout's probability; every user keeps one of either kind."""
        draw = rng.random(len(owner))
        order = np.lexsort((draw, owner))
        counts = np.bincount(owner, minlength=n_users)
        ends = np.cumsum(counts)
        target = draw < self._dropout
        target[order[ends - counts]] = True  # the smallest draw of a user
        target[order[ends - 1]] = False  # the largest; another one, since users have at least two
        return target

    def _choose_candidates(
        self, items: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if len(self._population) <= self._candidates:
            return self._population, np.ones(len(self._population), dtype=bool)
        drawn = rng.choice(self._population, self._candidates, replace=False, shuffle=False)
        candidates = np.union1d(drawn, items)
        return candidates, np.isin(candidates, drawn)


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


def gather_rows(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The entries of several CSR rows: positions in ``rows`` and column indices, both (nnz,) int64."""
    counts = indptr[rows + 1] - indptr[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, indices[np.repeat(indptr[rows], counts) + offset].astype(np.int64)
