"""EASE: a linear autoencoder without self-similarity, in closed form (Steck, WWW 2019, arXiv 1905.03375).

``min_B ‖X - XB‖² + λ‖B‖²  subject to  diag(B) = 0``  has with  ``P = (XᵀX + λI)⁻¹``  the solution
``B_ij = -P_ij / P_jj`` for i ≠ j, 0 on the diagonal.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from training.baselines.item_item import ItemItem, gram_matrix
from training.baselines.selection import Validate, select
from training.models.contract import TrainingData

LAMBDAS = (100.0, 50.0, 200.0, 400.0)


def fit(data: TrainingData, validate: Validate, seed: int) -> ItemItem:  # noqa: ARG001
    """Chooses λ among ``LAMBDAS``.

    Raises:
        CatalogueTooLarge: there are too many items for a weight per pair.
    """
    gram = gram_matrix(data)
    return select((ItemItem(data, weights(gram, ridge)) for ridge in LAMBDAS), validate)


def weights(gram: NDArray[np.float32], ridge: float) -> NDArray[np.float32]:
    """B for a Gram matrix and λ, (n_items, n_items) float32."""
    inverse = _inverse(gram + np.float32(ridge) * np.eye(len(gram), dtype=np.float32))
    b: NDArray[np.float32] = inverse / -np.diag(inverse)
    np.fill_diagonal(b, 0)
    return b


def _inverse(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite matrix by Cholesky; a third of the work of a general one."""
    factor, _ = lapack.spotrf(matrix.T, lower=True, overwrite_a=True)
    inverse, _ = lapack.spotri(factor, lower=True, overwrite_c=True)
    lower = np.tril(inverse, -1)
    full: NDArray[np.float32] = lower + lower.T + np.diag(np.diag(inverse))
    return full
