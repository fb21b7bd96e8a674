"""Propagation over graphs: products of constant sparse matrices with node states."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

_Product = Callable[[Tensor], Tensor]


class Graph:
    """A constant sparse matrix with its transpose, which gradients need: ``graph @ states``.

    Args:
        matrix: (n, n'); duplicates are summed.
        device: where the states are.
    """

    def __init__(self, matrix: csr_matrix, device: torch.device) -> None:
        self._forth = _product_with(matrix.tocsr(), device)
        self._back = _product_with(matrix.T.tocsr(), device)

    def __matmul__(self, states: Tensor) -> Tensor:
        """The product with (n', c) states, (n, c) float32."""
        product: Tensor = _ConstantProduct.apply(states, self._forth, self._back)  # type: ignore[no-untyped-call]
        return product


class _ConstantProduct(torch.autograd.Function):
    """``A @ X`` for a constant A. Left to itself torch transposes and sorts A anew in each backward pass."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, forth: _Product, back: _Product) -> Tensor:
        ctx.back = back
        # Sums over neighbours stay float32 in mixed precision, as their gradients do, which no autocast sees.
        with torch.autocast(states.device.type, enabled=False):
            return forth(states.detach().float())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradients[0]), None, None


def _product_with(matrix: csr_matrix, device: torch.device) -> _Product:
    """What multiplies by a matrix; on the CPU scipy does, in half the time that torch takes."""
    matrix = matrix.astype(np.float32)
    matrix.sum_duplicates()
    if device.type == "cpu":
        return lambda states: torch.from_numpy(matrix @ states.contiguous().numpy())
    entries = matrix.tocoo()
    tensor = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64)),
        torch.from_numpy(entries.data),
        size=entries.shape,
        device=device,
        check_invariants=True,  # said or denied explicitly, or torch warns
    ).coalesce()
    return lambda states: tensor @ states


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
