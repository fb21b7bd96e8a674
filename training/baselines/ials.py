"""iALS: matrix factorisation for implicit feedback by alternating least squares.

Hu, Koren & Volinsky (ICDM 2008) in the form of Rendle et al., "Revisiting the performance of iALS on item
recommendation benchmarks" (RecSys 2022, arXiv 2110.14037), which minimises over user rows w and item rows h

``Σ_{(u,i) ∈ S} (⟨w_u, h_i⟩ - 1)² + α₀ Σ_u Σ_i ⟨w_u, h_i⟩² + Σ_u λ_u ‖w_u‖² + Σ_i λ_i ‖h_i‖²``  with
``λ_u = λ (|H(u)| + α₀ n_items)``  and λ_i alike (their exponent ν is 1).

Given the items, a user is a ridge regression, ``w_u = (Σ_{i ∈ H(u)} h_i h_iᵀ + α₀ HᵀH + λ_u I)⁻¹ Σ_{i ∈ H(u)} h_i``; so
are users that were never trained. Items without interactions have zero rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training import least_squares
from training.baselines.selection import Validate, select
from training.features import ModalityFeatures
from training.graph import interaction_matrix
from training.models.contract import Embeddings, TrainingData

D = 64
SWEEPS = 16
UNOBSERVED = (0.1, 0.03, 0.01, 0.003, 0.3)
RIDGES = (0.01, 0.003, 0.02, 0.03, 0.05)
_INITIAL = 0.1


@dataclass(frozen=True, slots=True)
class Penalty:
    """What keeps factors small.

    Attributes:
        unobserved: α₀, the weight of each (user, item) pair's distance from 0.
        ridge: λ.
    """

    unobserved: float
    ridge: float


@dataclass(frozen=True, slots=True)
class IALS:
    """Factors after the last sweep, which ended with the users: they are what fold-in gives for their histories.

    Attributes:
        users: (n_users, d) float32.
        items: (n_items, d) float32.
        penalty: what they were solved with.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    penalty: Penalty

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:  # noqa: ARG002
        """The factors; see ``Recommender.embeddings``."""
        return Embeddings(self.users, self.items, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """The users' half-step, (n, d)."""
        return half_step(interaction_matrix(indptr, indices, len(self.items)), self.items, self.penalty)


def fit(data: TrainingData, validate: Validate, seed: int) -> IALS:
    """Chooses α₀ among ``UNOBSERVED`` and λ among ``RIDGES``, with d = 64 and 16 sweeps."""
    penalties = (Penalty(unobserved, ridge) for unobserved, ridge in product(UNOBSERVED, RIDGES))
    return select((factorise(data, penalty, seed) for penalty in penalties), validate)


def factorise(data: TrainingData, penalty: Penalty, seed: int, d: int = D, sweeps: int = SWEEPS) -> IALS:
    """Alternates between items and users, users last."""
    by_user = interaction_matrix(data.indptr, data.indices, data.n_items)
    by_item = by_user.T.tocsr()
    rng = np.random.default_rng(seed)
    items = rng.normal(scale=_INITIAL / np.sqrt(d), size=(data.n_items, d)).astype(np.float32)
    items[data.popularity() == 0] = 0
    users = half_step(by_user, items, penalty)
    for _ in range(sweeps):
        items = half_step(by_item, users, penalty)
        users = half_step(by_user, items, penalty)
    return IALS(users, items, penalty)


def half_step(interactions: csr_matrix, factors: NDArray[np.float32], penalty: Penalty) -> NDArray[np.float32]:
    """The row factors that are best for given column factors.

    Args:
        interactions: binary (n, m).
        factors: (m, d) float32.
        penalty: α₀ and λ.

    Returns:
        (n, d) float32; zero for rows without interactions.
    """
    counts = np.diff(interactions.indptr)
    ridges = penalty.ridge * (counts + penalty.unobserved * len(factors))
    return least_squares.half_step(interactions, factors, penalty.unobserved, ridges)
