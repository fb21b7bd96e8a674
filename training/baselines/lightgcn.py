"""LightGCN: embeddings smoothed over the user–item graph, nothing else (He et al., SIGIR 2020, arXiv 2002.02126).

``E⁽ˡ⁺¹⁾ = D^-½ A D^-½ E⁽ˡ⁾``, final rows the mean of layers 0 … 3. In ``lightgcn_mean``, the usual treatment of missing
modalities, an item's layer 0 is its ID embedding plus a linear map of its features, absent ones replaced by the mean
over training items that have them; a new item, which has no ID embedding and no edges, is its mapped features alone.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.baselines.bpr import D, Pairwise, Settings, Triple, train_pairwise
from training.baselines.content import MeanImputation
from training.baselines.selection import Validate
from training.features import ModalityFeatures
from training.graph import normalised_adjacency
from training.models.contract import TrainingData
from training.propagation import Graph, mean_of_layers

LAYERS = 3
SETTINGS = Settings(lr=1e-2, penalty=1e-3)
_INITIAL = 0.1


class LightGCN(nn.Module):
    """Embeddings of users and items and, with ``content``, a map from features."""

    def __init__(self, data: TrainingData, seed: int, *, content: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def normal(rows: int, scale: float) -> nn.Parameter:
            return nn.Parameter(scale * torch.randn(rows, D, generator=generator))

        self.users, self.items = normal(data.n_users, _INITIAL), normal(data.n_items, _INITIAL)
        self._warm = torch.from_numpy(data.popularity() > 0)[:, None]
        self._graph = Graph(normalised_adjacency(data.indptr, data.indices, data.n_items), torch.device("cpu"))
        self._content = content
        if content:
            self._imputation = MeanImputation(data)
            self._features = self._impute(data.features)
            self.projection = normal(self._features.shape[1], _INITIAL)

    def tables(self, features: Mapping[str, ModalityFeatures] | None = None) -> tuple[Tensor, Tensor]:
        """The mean over the layers; see ``PairwiseNetwork.tables``."""
        items = self._warm * self.items
        if self._content:
            items = items + (self._features if features is None else self._impute(features)) @ self.projection
        rows = mean_of_layers(self._graph, torch.cat([self.users, items]), LAYERS)
        return rows[: len(self.users)], rows[len(self.users) :]

    def penalty(self, triple: Triple) -> Tensor:
        """Of the ID embeddings."""
        users, positives, negatives = triple
        return self.users[users].square().sum() + self.items[torch.cat([positives, negatives])].square().sum()

    def _impute(self, features: Mapping[str, ModalityFeatures]) -> Tensor:
        return torch.from_numpy(self._imputation.fill(features))


def fit(data: TrainingData, validate: Validate, seed: int) -> Pairwise:
    """Trains on interactions alone; ``validate`` chooses the epoch."""
    return train_pairwise(LightGCN(data, seed, content=False), data, validate, seed, SETTINGS)


def fit_mean(data: TrainingData, validate: Validate, seed: int) -> Pairwise:
    """Trains with mean-imputed features; ``validate`` chooses the epoch."""
    return train_pairwise(LightGCN(data, seed, content=True), data, validate, seed, SETTINGS)
