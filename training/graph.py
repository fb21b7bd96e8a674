"""The user–item graph as sparse matrices."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import bmat, csr_matrix, diags


def interaction_matrix(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_items: int) -> csr_matrix:
    """Histories as a binary (n_users, n_items) float32 CSR matrix with sorted indices; the inputs are left as they are.

    An item that stands twice in a history counts once.
    """
    shape = (len(indptr) - 1, n_items)
    matrix = csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=shape, copy=True)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def normalised_adjacency(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_items: int) -> csr_matrix:
    """``D^-1/2 [[0, R], [Rᵀ, 0]] D^-1/2``: the propagation matrix of LightGCN (He et al. 2020), without self loops.

    Users come first, items after them. A node without edges has a row and a column of zeros. An item that stands twice
    in a history counts once.

    Args:
        indptr: (n_users + 1,) row pointers of the histories.
        indices: (nnz,) item rows, in any order within a user.
        n_items: items, with and without interactions.

    Returns:
        (n_users + n_items, n_users + n_items) float32.
    """
    interactions = interaction_matrix(indptr, indices, n_items)
    adjacency = bmat([[None, interactions], [interactions.T, None]], format="csr")
    scale = diags(np.maximum(np.diff(adjacency.indptr), 1) ** -0.5)
    return csr_matrix(scale @ adjacency @ scale, dtype=np.float32)
