"""The factors of I³-MRec: what clicks say of users and items, with content as the items' prior."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model_store import LeastSquaresRule
from training.config import TrainConfig
from training.graph import interaction_matrix
from training.least_squares import half_step, shared_spectrum, turned
from training.models.contract import TrainingData
from training.solvable import solved

_INITIAL = 0.1
# How much what users did not touch weighs is what data sets differ in most; its product with the ridge hardly at all.
_UNOBSERVED = (70.0, 35.0, 140.0, 280.0)
_PRODUCT = 2.45
ADVICE = "a larger --ridge or --unobserved, or a smaller --popularity-exponent"
"""Where factors cannot be solved for."""

Factors = NDArray[np.float32]


def candidates(config: TrainConfig) -> list[TrainConfig]:
    """The configurations that a configuration leaves open, the usual one first."""
    chosen = [config.unobserved] if config.unobserved else _UNOBSERVED
    return [replace(config, unobserved=weight, ridge=config.ridge or _PRODUCT / weight) for weight in chosen]


class Factorisation:
    """Implicit least squares (``training.least_squares``) in which content has a say about items.

    With α₀ such that all items together weigh ``unobserved``, users are regularised by ``λ (|H(u)| + α₀ n_items)`` and
    items by ``λ (|U(i)| + α₀ n_users) |U(i)|^ν``, the last factor normalised. Its exponent ν > 0 ties popular items
    closer to their prior, which keeps them from filling every list.
    """

    def __init__(self, data: TrainingData, config: TrainConfig) -> None:
        self._config = config = candidates(config)[0]
        self._by_user = interaction_matrix(data.indptr, data.indices, data.n_items)
        self._by_item = self._by_user.T.tocsr()
        self._unobserved = config.unobserved / data.n_items
        self.popularity = np.diff(self._by_item.indptr)
        self._user_ridges = config.ridge * (np.diff(self._by_user.indptr) + config.unobserved)
        self._item_ridges = self._ridges_of_items(data.n_users)

    def users(self, items: Factors) -> Factors:
        """The users' half-step, (n_users, d).

        Raises:
            NotFinite: the configuration leaves it without a solution.
        """
        return solved(
            lambda: half_step(self._by_user, items, self._unobserved, self._user_ridges), "user factors", ADVICE
        )

    def items(self, users: Factors, content: Factors | None) -> Factors:
        """The items' half-step, (n_items, d), with a share of ``content`` (n_items, d) as the prior mean.

        Raises:
            NotFinite: the configuration leaves it without a solution.
        """
        prior = None if content is None else self._config.content_weight * content
        return solved(
            lambda: half_step(self._by_item, users, self._unobserved, self._item_ridges, prior), "item factors", ADVICE
        )

    def solve(self, predict: Callable[[Factors], Factors], rng: np.random.Generator) -> Factors:
        """Item factors (n_items, d) from noise: half of the sweeps without content, the others with what it predicts.

        They come in the axes in which what all users share, ``α₀ Σ h hᵀ``, is diagonal.

        Args:
            predict: from item factors to what content predicts of them.
            rng: draws the noise.
        """
        shape = (len(self.popularity), self._config.d)
        items = rng.normal(scale=_INITIAL / np.sqrt(self._config.d), size=shape).astype(np.float32)
        items[self.popularity == 0] = 0
        for sweep in range(self._config.sweeps):
            content = predict(items) if 2 * sweep >= self._config.sweeps else None
            items = self.items(self.users(items), content)
        _, axes = shared_spectrum(items, self._unobserved)
        return turned(items, axes)

    def rule(self, items: Factors) -> LeastSquaresRule:
        """The users' half-step for any history; ``items`` in the axes of ``solve``."""
        config = self._config
        shared = self._unobserved * np.square(items, dtype=np.float64).sum(axis=0)
        diagonal = shared + config.ridge * config.unobserved
        return LeastSquaresRule(tuple(diagonal.tolist()), config.ridge, config.max_history)

    def _ridges_of_items(self, n_users: int) -> NDArray[np.float64]:
        counts = np.maximum(self.popularity, 1).astype(np.float64)
        # Said as weights |U(i)|^-ν of an item's evidence, which are 1 on average over interactions (an item without any
        # counts as one).
        weights = counts**-self._config.popularity_exponent
        weights /= np.average(weights, weights=counts)
        ridges: NDArray[np.float64] = self._config.ridge * (self.popularity + self._unobserved * n_users) / weights
        return ridges
