"""Alternating least squares for implicit feedback: one side's factors given the other's, with or without a prior.

Row factors w minimise, for given column factors h,

``Σ_{c ∈ S(r)} (⟨w_r, h_c⟩ - 1)² + α₀ Σ_c ⟨w_r, h_c⟩² + λ_r ‖w_r - μ_r‖²``

(Hu, Koren & Volinsky 2008; Rendle et al. 2022, arXiv 2110.14037; with a prior mean μ, Wang & Blei 2011). Read as
probabilities, the solution is the mean of a product of experts: the prior N(μ_r, 1/λ_r), and the interactions, one more
Gaussian.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Real = TypeVar("Real", np.float32, np.float64)

_BLOCK_CELLS = 1 << 18  # bounds what is gathered at once
_BLOCK_ROWS = 16_384  # of a table that are held in double precision at once


def half_step(
    interactions: csr_matrix,
    factors: NDArray[np.float32],
    unobserved: float,
    ridges: NDArray[np.floating],
    prior: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The row factors that are best for given column factors.

    Args:
        interactions: binary (n, m) CSR.
        factors: (m, d) float32.
        unobserved: α₀.
        ridges: (n,) λ_r, positive where the row has interactions.
        prior: (n, d) μ_r; None = zero.

    Returns:
        (n, d) float32; rows without interactions are zero, whatever their prior.
    """
    # In the eigenvectors of the shared Gram matrix, what all rows have in common is diagonal.
    spectrum, basis = shared_spectrum(factors, unobserved)
    turned_prior = None if prior is None else turned(prior, basis)
    return turned(solve_rows(interactions, turned(factors, basis), spectrum, ridges, turned_prior), basis.T)


def shared_spectrum(factors: NDArray[np.float32], unobserved: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (d,), none below 0, and eigenvectors (d, d) of ``α₀ HᵀH``, which is added in float64."""
    d = factors.shape[1]
    gram = np.zeros((d, d))
    for block in _row_blocks(len(factors)):
        gram += factors[block].T.astype(np.float64) @ factors[block]
    spectrum, basis = np.linalg.eigh(unobserved * gram)
    return spectrum.clip(min=0), basis


def turned(rows: NDArray[np.float32], axes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows (n, d) in other axes (d, d), added in float64 a block at a time: float32 as before."""
    found = np.empty_like(rows)
    for block in _row_blocks(len(rows)):
        found[block] = rows[block] @ axes
    return found


def solve_rows(
    interactions: csr_matrix,
    factors: NDArray[Real],
    spectrum: NDArray[np.floating],
    ridges: NDArray[np.floating],
    prior: NDArray[Real] | None = None,
) -> NDArray[Real]:
    """``half_step`` where ``α₀ HᵀH`` is diagonal: (n, d) for its diagonal ``spectrum`` (d,), precise as ``factors``."""
    real = factors.dtype
    counts = np.diff(interactions.indptr)
    m, d = factors.shape
    padded = np.concatenate([factors, np.zeros((1, d), real)])
    solved = np.zeros((len(counts), d), real)
    for rows in _blocks(counts, d):
        slots = np.arange(counts[rows].max()) < counts[rows, None]
        columns = np.full(slots.shape, m)
        columns[slots] = interactions[rows].indices
        observed = padded[columns]
        wanted = observed.sum(axis=1)
        if prior is not None:
            wanted += (ridges[rows, None] * prior[rows]).astype(real)
        solved[rows] = _solve((spectrum + ridges[rows, None]).astype(real), observed, wanted)
    return solved


def _solve(diagonal: NDArray[Real], observed: NDArray[Real], wanted: NDArray[Real]) -> NDArray[Real]:
    """``(D + HᵀH)⁻¹ b`` for each of n systems, by the smaller of two: of size d, or of the number of observations.

    The latter is ``D⁻¹b - D⁻¹Hᵀ (I + H D⁻¹ Hᵀ)⁻¹ H D⁻¹b`` (Woodbury).

    Args:
        diagonal: (n, d) positive.
        observed: (n, length, d) H, padded with zero rows.
        wanted: (n, d) b.

    Returns:
        (n, d).
    """
    _, length, d = observed.shape
    if length < d:
        scaled = observed / diagonal[:, None, :]
        plain = wanted / diagonal
        systems = scaled @ observed.transpose(0, 2, 1) + np.eye(length, dtype=observed.dtype)
        shares = np.linalg.solve(systems, observed @ plain[:, :, None])
        return np.asarray(plain - (scaled.transpose(0, 2, 1) @ shares)[:, :, 0])
    systems = np.asarray(observed.transpose(0, 2, 1) @ observed)
    systems[:, np.arange(d), np.arange(d)] += diagonal
    return np.asarray(np.linalg.solve(systems, wanted[:, :, None])[:, :, 0])


def _blocks(counts: NDArray[np.integer], d: int) -> Iterator[NDArray[np.int64]]:
    """Rows with interactions, longest first, so that rows of a block are padded little."""
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    start = 0
    while start < len(order):
        length = int(counts[order[start]])
        size = max(1, _BLOCK_CELLS // (d * length))
        yield order[start : start + size]
        start += size


def _row_blocks(n: int) -> Iterator[slice]:
    """All of n rows, a block at a time."""
    for start in range(0, n, _BLOCK_ROWS):
        yield slice(start, start + _BLOCK_ROWS)
