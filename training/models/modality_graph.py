"""I³-MRec's backbone: one graph encoder per modality over a user table that all of them share."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from training.content import Content, unit_rows
from training.features import ModalityFeatures
from training.propagation import Graph, mean_of_layers

_USER_SCALE = 0.1


class States(NamedTuple):
    """What the graph encoders know; a modality's columns stand side by side.

    Attributes:
        users: (n_modalities, n_users, d).
        items: (n_modalities, n_items, d).
    """

    users: Tensor
    items: Tensor


class Projections(nn.Module):
    """One affine map per modality, of rows of unit norm; an absent modality is a zero row and becomes the bias."""

    def __init__(self, features: Mapping[str, ModalityFeatures], d: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(modality.dim, d) for modality in features.values()])

    def forward(self, features: list[Tensor], present: Tensor) -> Tensor:
        """Features (b, d_m) of each modality, present (b, n_modalities) → states of unit norm, (n_modalities, b, d)."""
        rows = unit_rows(features, present)
        return torch.stack([normalize(project(x), dim=1) for project, x in zip(self.maps, rows, strict=True)])

    def alone(self, features: list[Tensor], present: Tensor, layers: int) -> Tensor:
        """The states of items without edges, (n_modalities, b, d): only the layer of their own content is not zero."""
        states: Tensor = self(features, present)
        return states / (layers + 1)


def user_table(n_users: int, d: int) -> nn.Parameter:
    """A table of users, Normal(0, 0.1)."""
    return nn.Parameter(_USER_SCALE * torch.randn(n_users, d))


def propagate(graph: Graph, users: Tensor, projections: Projections, content: Content, layers: int) -> States:
    """Runs all modalities' graph encoders in one product.

    ``H0 = rows of unit norm of [E_U; P_m(X^m)]``, ``H = mean of H0, ÂH0, …, Â^layers H0``.
    """
    items = projections(content.features, content.present)
    n_modalities = len(items)
    start = torch.cat([normalize(users, dim=1).expand(n_modalities, -1, -1), items], dim=1)
    n, d = start.shape[1:]
    states = mean_of_layers(graph, start.transpose(0, 1).reshape(n, n_modalities * d), layers)
    states = states.view(n, n_modalities, d).transpose(0, 1)
    return States(states[:, : len(users)], states[:, len(users) :])
