"""Propagation over graphs: products of constant sparse matrices with node states."""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor


class Graph(NamedTuple):
    """A constant sparse matrix with its transpose, which gradients need.

    Attributes:
        matrix: (n, n') sparse.
        transpose: (n', n) sparse; the same tensor where the matrix is symmetric.
    """

    matrix: Tensor
    transpose: Tensor

    def __matmul__(self, states: Tensor) -> Tensor:
        product: Tensor = _ConstantProduct.apply(self, states)  # type: ignore[no-untyped-call]
        return product


class _ConstantProduct(torch.autograd.Function):
    """``A @ X`` for a constant A. Left to itself torch transposes and sorts A anew in each backward pass."""

    @staticmethod
    def forward(ctx: Any, graph: Graph, states: Tensor) -> Tensor:
        ctx.graph = graph
        # Sums over neighbours stay float32 in mixed precision, as their gradients do, which no autocast sees.
        with torch.autocast(states.device.type, enabled=False):
            return graph.matrix @ states.to(graph.matrix.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, ctx.graph.transpose @ gradients[0]


def graph_of(matrix: csr_matrix, device: torch.device) -> Graph:
    """The graph of a scipy matrix; duplicates are summed."""
    return Graph(_sparse(matrix, device), _sparse(matrix.T, device))


def mean_of_layers(graph: Graph, states: Tensor, layers: int) -> Tensor:
    """``(X + AX + … + A^layers X) / (layers + 1)``, LightGCN's layer combination (He et al. 2020).

    Args:
        graph: A, square.
        states: (n, c) X; several modalities may stand side by side in its columns.
        layers: how often neighbours are looked at.
    """
    total = states
    for _ in range(layers):
        states = graph @ states
        total = total + states
    return total / (layers + 1)


def _sparse(matrix: csr_matrix, device: torch.device) -> Tensor:
    entries = matrix.tocoo()
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64)),
        torch.from_numpy(entries.data.astype(np.float32)),
        size=entries.shape,
        device=device,
        check_invariants=True,  # said or denied explicitly, or torch warns
    ).coalesce()
