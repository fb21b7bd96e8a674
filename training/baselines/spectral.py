"""Spectral form: the leading right singular vectors of the degree-scaled interactions; no learning at all.

``R̃ = D_u^-α R D_i^-½ ≈ U Σ Vᵀ``;  user ``u = R̃ V``, item ``D_i^½ V``. As ``u = |H|^-α Σ_{i ∈ H} d_i^-½ V_i``, a user is
encoded by a history rule, the new one like the known one. PureSVD (Cremonesi et al., RecSys 2010) with the graph
normalisation of spectral collaborative filtering (Shen et al., "How powerful is graph convolution for recommendation?",
CIKM 2021); the singular vectors come from a randomised SVD (Halko et al. 2011).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from model_store import HistoryRule
from training.baselines.selection import Validate, select
from training.features import ModalityFeatures
from training.foldin import fold_in
from training.graph import interaction_matrix
from training.models.contract import Embeddings, TrainingData

ALPHAS = (0.3, 0.5)
DIMENSIONS = (384, 256, 512, 192, 128, 64, 32)
SHARE = 8  # of the full rank at most one in so many: with all of it, users are recommended what they have
_POWER_ITERATIONS = 7
_WHOLE_HISTORY = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Spectral:
    """Item rows on either side, and the exponent of the history rule.

    Attributes:
        data: what it was fitted on.
        items: ``D_i^½ V``, (n_items, d) float32.
        history: ``D_i^-½ V``, (n_items, d) float32.
        alpha: α.
    """

    data: TrainingData
    items: NDArray[np.float32]
    history: NDArray[np.float32]
    alpha: float

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:  # noqa: ARG002
        """The tables; see ``Recommender.embeddings``. Items without interactions have zero rows."""
        return Embeddings(self.fold_in(self.data.indptr, self.data.indices), self.items, self.history)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by the history rule, (n, d)."""
        return fold_in(indptr, indices, self.history, HistoryRule(self.alpha, _WHOLE_HISTORY))


def fit(data: TrainingData, validate: Validate, seed: int) -> Spectral:
    """Chooses α among ``ALPHAS`` and d among those ``DIMENSIONS`` that are at most an eighth of the full rank."""
    largest = max(1, min(data.n_users, data.n_items) // SHARE)
    dimensions = [d for d in DIMENSIONS if d <= largest] or [largest]
    bases = {alpha: singular_vectors(data, alpha, max(dimensions), seed) for alpha in ALPHAS}
    grid = product(ALPHAS, dimensions)
    return select((spectral(data, bases[alpha][:, :d], alpha) for alpha, d in grid), validate)


def spectral(data: TrainingData, v: NDArray[np.float64], alpha: float) -> Spectral:
    """The model with V, (n_items, d)."""
    root = np.sqrt(data.popularity())[:, None]
    items = (root * v).astype(np.float32)
    return Spectral(data, items, (v * (root > 0) / np.maximum(root, 1)).astype(np.float32), alpha)


def singular_vectors(data: TrainingData, alpha: float, d: int, seed: int) -> NDArray[np.float64]:
    """V: the d leading right singular vectors of R̃, (n_items, d)."""
    interactions = interaction_matrix(data.indptr, data.indices, data.n_items).astype(np.float64)
    lengths = np.maximum(np.asarray(interactions.sum(axis=1)), 1)
    degrees = np.maximum(data.popularity(), 1)
    scaled = interactions.multiply(lengths**-alpha).multiply(degrees**-0.5).tocsr()
    _, _, vt = randomized_svd(scaled, d, n_iter=_POWER_ITERATIONS, random_state=seed % 2**32)
    v: NDArray[np.float64] = vt.T
    return v
