"""Collective EASE: EASE on interactions and content at once (Jeunen, Van Balen & Goethals, RecSys 2020).

``XᵀX`` becomes ``XᵀX + w FFᵀ``, every feature acting like a user who has the items that show it; the solution stays
that of EASE. F holds unit rows per modality, zero where a modality is absent: absent content says nothing.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from training.baselines import ease
from training.baselines.content import unit_blocks
from training.baselines.item_item import gram_matrix, histories
from training.baselines.selection import Validate, select
from training.features import ModalityFeatures
from training.models.contract import Embeddings, TrainingData

LAMBDAS = (200.0, 100.0, 50.0)
WEIGHTS = (50.0, 10.0)


class CollectiveEase:
    """The weights for given λ and w; solved anew for other features."""

    def __init__(self, data: TrainingData, gram: NDArray[np.float32], ridge: float, weight: float) -> None:
        self._data, self._gram, self._ridge, self._weight = data, gram, ridge, weight
        self._weights = self._solve(data.features)

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Histories and weights; see ``Recommender.embeddings``."""
        weights = self._weights if features is None else self._solve(features)
        return Embeddings(self.fold_in(self._data.indptr, self._data.indices), weights.T, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """The histories as dense binary rows, (n, n_items)."""
        return histories(indptr, indices, self._data.n_items)

    def _solve(self, features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
        f = unit_blocks(features)
        return ease.weights(self._gram + self._weight * (f @ f.T), self._ridge)


def fit(data: TrainingData, validate: Validate, seed: int) -> CollectiveEase:  # noqa: ARG001
    """Chooses λ among ``LAMBDAS`` and w among ``WEIGHTS``.

    Raises:
        CatalogueTooLarge: there are too many items for a weight per pair.
    """
    gram = gram_matrix(data)
    return select((CollectiveEase(data, gram, ridge, w) for ridge, w in product(LAMBDAS, WEIGHTS)), validate)
