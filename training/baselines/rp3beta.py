"""RP³β: three steps of a random walk on the user–item graph, popular ends discounted.

After Paudel et al., "Updatable, accurate, diverse, and scalable recommendations for interactive applications",
ACM TiiS 7(1), 2016, with the neighbourhood cut and normalised as in Ferrari Dacrema et al. (RecSys 2019):

``W_ji = (Σ_u p(u|j) p(i|u)) / |U(i)|^β``  with  ``p(u|j) = (1/|U(j)|)^α``,  ``p(i|u) = (1/|H(u)|)^α``,

of each row j the k largest, self excluded. The first step of the walk is the user's history; it weighs all items alike.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from training.baselines.item_item import ItemItem, keep_largest, refuse_large
from training.baselines.selection import Validate, select
from training.graph import interaction_matrix
from training.models.contract import TrainingData

ALPHAS = (1.0, 0.7)
BETAS = (0.3, 0.0, 0.5)
NEIGHBOURS = 1000
_BLOCK = 512


def fit(data: TrainingData, validate: Validate, seed: int) -> ItemItem:  # noqa: ARG001
    """Chooses α among ``ALPHAS`` and β among ``BETAS``, with k = 1000.

    Raises:
        CatalogueTooLarge: there are too many items for a weight per pair.
    """
    refuse_large(data)
    grid = product(ALPHAS, BETAS)
    return select((ItemItem(data, weights(data, alpha, beta, NEIGHBOURS)) for alpha, beta in grid), validate)


def weights(data: TrainingData, alpha: float, beta: float, k: int) -> NDArray[np.float32]:
    """W, (n_items, n_items) float32; zero rows and columns for items without interactions."""
    interactions = interaction_matrix(data.indptr, data.indices, data.n_items)
    to_items = _power(np.asarray(interactions.sum(axis=1)).ravel(), -alpha)
    counts = data.popularity()
    to_users, discount = _power(counts, -alpha), _power(counts, -beta)
    walk = interactions.T.tocsr().multiply(to_users[:, None]).tocsr() @ interactions.multiply(to_items[:, None]).tocsr()
    w = np.zeros((data.n_items, data.n_items), np.float32)
    for start in range(0, data.n_items, _BLOCK):
        block = walk[start : start + _BLOCK].toarray() * discount
        rows = np.arange(len(block))
        block[rows, start + rows] = 0
        w[start : start + _BLOCK] = keep_largest(block, k)
    return w


def _power(counts: NDArray[np.integer], exponent: float) -> NDArray[np.float32]:
    """``counts ** exponent``, 0 where there is nothing."""
    return np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** exponent, 0).astype(np.float32)
