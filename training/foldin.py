"""Users encoded from their histories, all at once."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model_store import FoldInRule, LeastSquaresRule
from training.least_squares import shared_spectrum, solve_rows

CONFIDENCE = 10.0  # how much an interaction counts for where users have no history rule
RIDGE = 0.1


def fold_in(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    history_embeddings: NDArray[np.float32],
    rule: FoldInRule,
) -> NDArray[np.float32]:
    """Encodes every user by ``rule``: as ``rule.encode`` user by user, up to rounding, all at once.

    Args:
        indptr: (n_users + 1,) row pointers of the histories.
        indices: item rows, oldest first within a user.
        history_embeddings: (n_items, d) float32.
        rule: how a history becomes a user.

    Returns:
        (n_users, d) float32; zero rows for users without a history.
    """
    histories = _latest(indptr, indices, len(history_embeddings), rule.max_items)
    lengths = np.diff(histories.indptr)
    if isinstance(rule, LeastSquaresRule):
        return solve_rows(histories, history_embeddings, np.asarray(rule.diagonal), rule.ridge * lengths)
    sums = histories @ history_embeddings.astype(np.float64)
    scale = np.maximum(lengths, 1).astype(np.float64) ** -rule.alpha
    return np.asarray(sums * scale[:, None], dtype=np.float32)


def _latest(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_items: int, most: int) -> csr_matrix:
    """The latest items of each history as a binary (n_users, n_items) matrix."""
    counts = np.diff(indptr)
    from_end = np.repeat(indptr[1:], counts) - np.arange(len(indices))
    lengths = np.minimum(counts, most)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    kept = indices[from_end <= most]
    return csr_matrix((np.ones(len(kept)), kept, starts), shape=(len(counts), n_items))


def ridge_fold_in(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    items: NDArray[np.float32],
    *,
    confidence: float = CONFIDENCE,
    ridge: float = RIDGE,
) -> NDArray[np.float32]:
    """Places users by their histories in a space that knows users only as rows: one step of implicit least squares.

    A user is to score 1 on the items H of the history and 0 on all others, which count less (Hu, Koren and Volinsky
    2008):

    ``u = argmin Σ_{i∈H} (1 + c)(1 - u·z_i)² + Σ_{i∉H} (u·z_i)² + λ‖u‖²``
    ``  = (ZᵀZ + c Σ_{i∈H} z_i z_iᵀ + λI)⁻¹ (1 + c) Σ_{i∈H} z_i``  with  ``λ = ridge · tr(ZᵀZ) / d``.

    λ is relative to the table's own scale, so that a table times any number ranks alike.

    Args:
        indptr: (n_users + 1,) row pointers of the histories.
        indices: item rows, in any order; an item that stands twice counts twice.
        items: (n_items, d) float32 Z, the item side of the score.
        confidence: c, by how much an interaction counts for more than its absence.
        ridge: strength of the regularisation.

    Returns:
        (n_users, d) float32; zero rows for users without a history.
    """
    if not np.any(items):
        return np.zeros((len(indptr) - 1, items.shape[1]), np.float32)
    diagonal, axes = row_axes(items, confidence=confidence, ridge=ridge)
    shape = (len(indptr) - 1, len(items))
    histories = csr_matrix((np.ones(len(indices)), indices, indptr), shape=shape)
    users = solve_rows(histories, items @ axes, diagonal, np.zeros(len(indptr) - 1))
    return np.asarray((1 + confidence) / confidence * (users @ axes.T), dtype=np.float32)


def row_axes(
    items: NDArray[np.float32], *, confidence: float = CONFIDENCE, ridge: float = RIDGE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The diagonal (d,) of ``(ZᵀZ + λI) / c``, see ``ridge_fold_in``, and the axes (d, d) in which it is one."""
    spectrum, axes = shared_spectrum(items, 1.0)
    return (spectrum + ridge * spectrum.mean()) / confidence, axes
