"""Users encoded from their histories, all at once."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model_store import HistoryRule


def fold_in(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    history_embeddings: NDArray[np.float32],
    rule: HistoryRule,
) -> NDArray[np.float32]:
    """Encodes every user by ``rule``: the same numbers as ``HistoryRule.encode`` user by user, in one sparse product.

    Args:
        indptr: (n_users + 1,) row pointers of the histories.
        indices: item rows, oldest first within a user.
        history_embeddings: (n_items, d) float32.
        rule: how a history becomes a user.

    Returns:
        (n_users, d) float32; zero rows for users without a history.
    """
    counts = np.diff(indptr)
    from_end = np.repeat(indptr[1:], counts) - np.arange(len(indices))
    kept = from_end <= rule.max_items
    lengths = np.minimum(counts, rule.max_items)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shape = (len(counts), len(history_embeddings))
    histories = csr_matrix((np.ones(int(lengths.sum())), indices[kept], starts), shape=shape)
    sums = histories @ history_embeddings.astype(np.float64)
    scale = np.maximum(lengths, 1).astype(np.float64) ** -rule.alpha
    return np.asarray(sums * scale[:, None], dtype=np.float32)
