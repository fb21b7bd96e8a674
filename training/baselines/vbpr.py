"""VBPR: matrix factorisation with a content side (He & McAuley, AAAI 2016, arXiv 1510.01784).

``s_ui = β_i + ⟨γ_u, γ_i⟩ + ⟨θ_u, E f_i⟩``  trained by BPR; the paper's bias ⟨β', f_i⟩ of content is left out.

f is all modalities side by side, standardised by training items, absent ones replaced by their mean. (Uncentred
features lead it astray: all items look alike, and E learns their common part.) New items have β_i = 0 and γ_i = 0:
they live by content.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.baselines.bpr import D, Pairwise, Settings, Triple, train_pairwise
from training.baselines.content import MeanImputation
from training.baselines.selection import Validate
from training.features import ModalityFeatures
from training.models.contract import TrainingData

SETTINGS = Settings(lr=5e-3, penalty=1e-2)
_INITIAL = 0.02


class VBPR(nn.Module):
    """Factors of either side, item biases, and the map from features to factors."""

    def __init__(self, data: TrainingData, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(_INITIAL * torch.randn(shape, generator=generator))

        self._imputation = MeanImputation(data)
        self._features = self._impute(data.features)
        self._warm = torch.from_numpy(data.popularity() > 0)[:, None]
        self.users, self.items = normal(data.n_users, 2 * D), normal(data.n_items, D)
        self.bias = nn.Parameter(torch.zeros(data.n_items, 1))
        self.projection = normal(self._features.shape[1], D)

    def tables(self, features: Mapping[str, ModalityFeatures] | None = None) -> tuple[Tensor, Tensor]:
        """(γ_u, θ_u, 1) and (γ_i, E f_i, β_i); see ``PairwiseNetwork.tables``."""
        f = self._features if features is None else self._impute(features)
        items = torch.cat([self._warm * self.items, f @ self.projection, self._warm * self.bias], dim=1)
        return torch.cat([self.users, torch.ones_like(self.users[:, :1])], dim=1), items

    def penalty(self, triple: Triple) -> Tensor:
        """Of the factors, and of the map as often as there are triples."""
        users, positives, negatives = triple
        items = torch.cat([positives, negatives])
        shared = len(users) * self.projection.square().sum()
        return self.users[users].square().sum() + self.items[items].square().sum() + shared

    def _impute(self, features: Mapping[str, ModalityFeatures]) -> Tensor:
        return torch.from_numpy(self._imputation.fill(features))


def fit(data: TrainingData, validate: Validate, seed: int) -> Pairwise:
    """Trains; ``validate`` chooses the epoch."""
    return train_pairwise(VBPR(data, seed), data, validate, seed, SETTINGS)
