"""Graphs of items that look alike."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import normalize

_BLOCK = 1024


def neighbour_graph(rows: Tensor, items: NDArray[np.bool_], anchors: NDArray[np.bool_], k: int) -> csr_matrix:
    """Gives each item the mean of the ``k`` anchors nearest to it by cosine, itself left out.

    With as many neighbours for each, the mean is what symmetric normalisation by out-degrees gives.

    Args:
        rows: (n, d_m) features.
        items: (n,) bool, which items get neighbours; the rows of others stay empty.
        anchors: (n,) bool, which items may be neighbours.
        k: neighbours of an item; fewer where there are fewer anchors.

    Returns:
        (n, n) sparse; filled rows sum to 1, unless there are no anchors but the item itself.
    """
    n = len(rows)
    queries, targets = np.flatnonzero(items), np.flatnonzero(anchors)
    others = min(k, len(targets) - 1)
    if others < 1 or not len(queries):
        return csr_matrix((n, n))
    unit = normalize(rows.detach(), dim=1)
    candidates = unit[torch.from_numpy(targets).to(rows.device)]
    place = np.full(n, -1)
    place[targets] = np.arange(len(targets))
    nearest = []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        similarity = unit[torch.from_numpy(block).to(rows.device)] @ candidates.T
        own = np.flatnonzero(place[block] >= 0)
        similarity[torch.from_numpy(own), torch.from_numpy(place[block[own]])] = -torch.inf
        nearest.append(similarity.topk(others, dim=1).indices.cpu().numpy())
    columns = targets[np.concatenate(nearest)].ravel()
    entries = np.full(len(columns), 1 / others)
    return csr_matrix((entries, (np.repeat(queries, others), columns)), shape=(n, n))
