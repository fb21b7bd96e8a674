"""Fold-in for presets that know users only as rows: their tables, so turned that a least-squares rule encodes users."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model_store import FoldInRule, LeastSquaresRule
from training.foldin import row_axes
from training.models.contract import Embeddings, Model


@dataclass(frozen=True, slots=True)
class Exported:
    """What is published of a model.

    Attributes:
        embeddings: the tables.
        network: the encoder.
        history_rule: how a service encodes users; None where it cannot.
    """

    embeddings: Embeddings
    network: nn.Module
    history_rule: FoldInRule | None

    def encoder(self) -> nn.Module:
        """The encoder; see ``Model.encoder``."""
        return self.network


def exported(model: Model, embeddings: Embeddings) -> Exported:
    """The model as it is where it encodes users, else with ``training.foldin.ridge_fold_in`` as a rule of the bundle.

    That fold-in solves ``(ZᵀZ + c Σ z zᵀ + λI) u = (1 + c) Σ z``. In the eigenvectors of ZᵀZ all but the sum is
    diagonal, so tables and encoder are turned there; inner products stay. The user comes out ``c / (1 + c)`` times as
    long, which ranks alike.
    """
    if model.history_rule is not None or not np.any(embeddings.items):
        return Exported(embeddings, model.encoder(), model.history_rule)
    diagonal, axes = row_axes(embeddings.items)
    items = np.asarray(embeddings.items @ axes, dtype=np.float32)
    users = np.asarray(embeddings.users @ axes, dtype=np.float32)
    network = _Turned(model.encoder().cpu(), torch.from_numpy(axes.astype(np.float32)))
    return Exported(Embeddings(users, items, items), network, LeastSquaresRule(tuple(diagonal.tolist())))


class _Turned(nn.Module):
    """An encoder in other axes, whose rows serve on either side."""

    def __init__(self, encoder: nn.Module, axes: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.axes = nn.Parameter(axes, requires_grad=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        embedding, confidence = self.encoder(*inputs)
        turned = embedding @ self.axes
        return turned, turned, confidence
