"""iALS: matrix factorisation for implicit feedback by alternating least squares.

Hu, Koren & Volinsky (ICDM 2008) in the form of Rendle et al., "Revisiting the performance of iALS on item
recommendation benchmarks" (RecSys 2022, arXiv 2110.14037), which minimises over user rows w and item rows h

``Σ_{(u,i) ∈ S} (⟨w_u, h_i⟩ - 1)² + α₀ Σ_u Σ_i ⟨w_u, h_i⟩² + Σ_u λ_u ‖w_u‖² + Σ_i λ_i ‖h_i‖²``  with
``λ_u = λ (|H(u)| + α₀ n_items)^ν``  and λ_i alike, ν = 1.

Given the items, a user is a ridge regression, ``w_u = (Σ_{i ∈ H(u)} h_i h_iᵀ + α₀ HᵀH + λ_u I)⁻¹ Σ_{i ∈ H(u)} h_i``; so
are users that were never trained. Items without interactions have zero rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.baselines.selection import Validate, select
from training.features import ModalityFeatures
from training.graph import interaction_matrix
from training.models.contract import Embeddings, TrainingData

D = 64
SWEEPS = 16
UNOBSERVED = (0.1, 0.03, 0.3)
RIDGES = (0.01, 0.003, 0.03)
_INITIAL = 0.1
_BLOCK_CELLS = 1 << 18  # bounds what is gathered at once


@dataclass(frozen=True, slots=True)
class Penalty:
    """What keeps factors small.

    Attributes:
        unobserved: α₀, the weight of each (user, item) pair's distance from 0.
        ridge: λ.
        exponent: ν, how regularisation grows with frequency.
    """

    unobserved: float
    ridge: float
    exponent: float = 1.0


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
        penalty: α₀, λ, ν.

    Returns:
        (n, d) float32; zero for rows without interactions.
    """
    counts = np.diff(interactions.indptr)
    m, d = factors.shape
    ridges = penalty.ridge * (counts + penalty.unobserved * m) ** penalty.exponent
    # In the eigenvectors of the shared Gram matrix, what all rows have in common is diagonal.
    spectrum, basis = np.linalg.eigh(penalty.unobserved * (factors.T.astype(np.float64) @ factors))
    rotated = np.concatenate([factors @ basis, np.zeros((1, d))]).astype(np.float32)
    solved = np.zeros((len(counts), d), np.float32)
    for rows in _blocks(counts, d):
        slots = np.arange(counts[rows].max()) < counts[rows, None]
        columns = np.full(slots.shape, m)
        columns[slots] = interactions[rows].indices
        diagonal = (spectrum.clip(min=0) + ridges[rows, None]).astype(np.float32)
        solved[rows] = _solve(rotated[columns], slots, diagonal)
    return np.asarray(solved @ basis.T, dtype=np.float32)


def _solve(
    observed: NDArray[np.float32], slots: NDArray[np.bool_], diagonal: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(HᵀH + D)⁻¹ Hᵀ1`` for histories H (b, length, d), padded with zeros, and D (b, d): the smaller system of two.

    The other one is ``D⁻¹ Hᵀ (H D⁻¹ Hᵀ + I)⁻¹ 1`` (Woodbury).
    """
    _, length, d = observed.shape
    if length < d:
        scaled = observed / diagonal[:, None, :]
        systems = scaled @ observed.transpose(0, 2, 1) + np.eye(length, dtype=np.float32)
        shares = np.linalg.solve(systems, slots[:, :, None].astype(np.float32))
        return np.asarray((scaled.transpose(0, 2, 1) @ shares)[:, :, 0], dtype=np.float32)
    systems = np.asarray(observed.transpose(0, 2, 1) @ observed)
    systems[:, np.arange(d), np.arange(d)] += diagonal
    return np.asarray(np.linalg.solve(systems, observed.sum(axis=1)[:, :, None])[:, :, 0], dtype=np.float32)


def _blocks(counts: NDArray[np.integer], d: int) -> Iterator[NDArray[np.int64]]:
    """Rows with interactions, longest first, so that rows of a block are padded little."""
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    start = 0
    while start < len(order):
        length = int(counts[order[start]])
        size = max(1, _BLOCK_CELLS // (max(d, length) * min(d, length)))
        yield order[start : start + size]
        start += size
