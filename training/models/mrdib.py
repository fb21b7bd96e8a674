"""MRdIB (arXiv 2509.20225) on I³-MRec's backbone: the information between modalities taken apart.

Per modality the backbone's item state becomes a stochastic code ``z^m ~ N(μ_m, σ_m²)``; the item is the mean of the
codes of the modalities it has, with μ in place of z at inference. Four terms act on them:

- ranking, which is also the synergy term: BPR with the fused code;
- compression: ``Σ_m KL(q(z^m | x^m) ‖ N(0, I))``;
- unique: BPR with each modality's code alone, so that each can stand for the item;
- redundancy: mutual information between the codes of two modalities, by the Donsker–Varadhan bound, minimised.

What the sources leave open (there is no code; they say loss, sizes and the range of the weights), and what was chosen:

- The backbone is that of ``i3mrec-paper`` without its fusion, its variance and its own bottleneck, and without the cut
  of the gradient before the fusion. Users are not stochastic.
- Minimising the bound in critic and codes at once is unbounded below. The critic ascends in steps of its own (a moving
  average stands in for the partition function's gradient) on the codes of the step before, is frozen while the codes
  descend, and the bound is held at 0 from below. It is no part of the network.
- More than two modalities: a critic for each pair, on items that have both; the terms are summed.
- Missing modalities: their codes are left out, but for the unique risks, where what the graph has filled them with
  learns, too. An item that has nothing is the mean of all its codes, filled likewise; if it is new as well, it is the
  mean of what the projections' biases give, the same for all such items.
- Items without interactions: as in ``i3mrec-paper``.

Redundancy is what lets text stand in for an image: taking it out is expected to cost where modalities are missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.config import TrainConfig
from training.content import Content, content_of, encode, set_gain, share_present
from training.critics import MineEstimator
from training.features import ModalityFeatures
from training.foldin import ridge_fold_in
from training.fusion import Posterior
from training.graph import normalised_adjacency
from training.losses import bottleneck_kl, bpr_risk, mean_square_norm
from training.models.contract import Embeddings, TrainingData
from training.models.modality_graph import Projections, States, propagate, user_table
from training.models.settings import chosen_settings
from training.propagation import Graph
from training.sampling import PairBatch, PairSampler

_LOG_VARIANCE = (-8.0, 4.0)
_FEWEST = 2  # items without which there is no broken pair


@dataclass(frozen=True, slots=True)
class Settings:
    """MRdIB's own hyper-parameters; the weights are those published for MGCN, the nearest of its backbones.

    Attributes:
        layers: of the graph encoders.
        compression: α1, weight of the KL terms.
        redundancy: α2, weight of the mutual information between codes.
        unique: α3, weight of the single-modality risks.
        norm: weight of the squared norms, the backbone's.
        critic_steps: the critic's ascent steps per batch.
        critic_lr: their step size.
    """

    layers: int = 3
    compression: float = 0.005
    redundancy: float = 0.05
    unique: float = 0.005
    norm: float = 1e-3
    critic_steps: int = 2
    critic_lr: float = 1e-3


class ContentEncoder(nn.Module):
    """Projections and code heads: all that an item's content passes through; with the graph left out, a new item."""

    def __init__(self, features: Mapping[str, ModalityFeatures], d: int, layers: int) -> None:
        super().__init__()
        self.projections = Projections(features, d)
        self.mean = nn.ModuleList([_xavier(d) for _ in features])
        self.log_variance = nn.ModuleList([_xavier(d) for _ in features])
        self.new_item_gain = nn.Parameter(torch.ones(()), requires_grad=False)
        self._layers = layers

    def posteriors(self, states: Tensor) -> Posterior:
        """The codes of item states (n_modalities, b, d), same shape."""
        mean = torch.stack([head(x) for head, x in zip(self.mean, states, strict=True)])
        log_variance = torch.stack([head(x) for head, x in zip(self.log_variance, states, strict=True)])
        return Posterior(mean, (-log_variance.clamp(*_LOG_VARIANCE)).exp())

    def means(self, states: Tensor) -> Tensor:
        """The codes at inference, (n_modalities, b, d)."""
        return torch.stack([head(x) for head, x in zip(self.mean, states, strict=True)])

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(features (b, d_m) of each modality…, present (b, n_modalities)) → embedding, confidence."""
        *features, present = inputs
        means = self.means(self.projections.alone(features, present, self._layers))
        return self.new_item_gain * fuse(means, present), share_present(present)


def fuse(codes: Tensor, present: Tensor) -> Tensor:
    """The mean of the present modalities' codes (n_modalities, b, d) → (b, d); of all codes where none is present."""
    counted = _counted(present).to(codes.dtype)
    weights = counted / counted.sum(dim=1, keepdim=True)
    return (weights.T[:, :, None] * codes).sum(dim=0)


class _Network(nn.Module):
    """All that is learned."""

    def __init__(self, content: ContentEncoder, n_users: int, d: int) -> None:
        super().__init__()
        self.content = content
        self.users = user_table(n_users, d)


class MRdIB:
    """The preset ``mrdib``. See the module's docstring."""

    settings_kind: ClassVar[type] = Settings

    def __init__(
        self, data: TrainingData, config: TrainConfig, device: torch.device, settings: Settings | None = None
    ) -> None:
        self._settings = settings = settings or chosen_settings(Settings, config.settings)
        self._data, self._device = data, device
        self._warm = data.popularity() > 0
        self._content = content_of(data.features, device)
        self._graph = Graph(normalised_adjacency(data.indptr, data.indices, data.n_items), device)
        self._generator = torch.Generator(device).manual_seed(config.seed)
        self._sampler = PairSampler(data.indptr, data.indices, data.n_items, batch_pairs=config.batch_pairs)
        self._pairs = list(combinations(range(len(data.features)), 2))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            encoder = ContentEncoder(data.features, config.d, settings.layers)
            self._network = _Network(encoder, data.n_users, config.d).to(device)
            self._critics = [MineEstimator(config.d, device, lr=settings.critic_lr) for _ in self._pairs]
        self._encoder = encoder
        self._judged: list[tuple[Tensor, Tensor]] = []

    @property
    def network(self) -> nn.Module:
        """User table, projections and code heads; the critics are none of it."""
        return self._network

    @property
    def history_rule(self) -> None:
        """Users exist only as rows."""
        return

    def batches(self, rng: np.random.Generator) -> Iterator[PairBatch]:
        """The batches of one epoch; after each, the critics learn from the codes its loss was asked about."""
        for batch in self._sampler.epoch(rng):
            yield batch
            self._fit_critics()

    def loss(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002 - MRdIB has no schedule
        """Ranking risk, compression, unique risks, redundancy and norms."""
        settings = self._settings
        users = torch.from_numpy(batch.users).to(self._device)
        rows, place = np.unique(np.stack([batch.positives, batch.negatives]), return_inverse=True)
        chosen = torch.from_numpy(rows).to(self._device)
        pairs = torch.from_numpy(place.reshape(2, -1)).to(self._device)
        states = self._states(self._content)
        present = self._content.present[chosen]
        posteriors = self._encoder.posteriors(states.items[:, chosen])
        codes = posteriors.sample(self._generator)
        own = (self._network.users + states.users)[:, users]
        joint = own.mean(dim=0)
        positive, negative = (fuse(codes, present)[side] for side in pairs)
        unique = [_risk(of_user, code[pairs[0]], code[pairs[1]]) for of_user, code in zip(own, codes, strict=True)]
        return {
            "ranking": _risk(joint, positive, negative),
            "compression": settings.compression * self._compression(posteriors, _counted(present)),
            "unique": settings.unique * torch.stack(unique).sum(),
            "redundancy": settings.redundancy * self._redundancy(codes, present),
            "norm": settings.norm * 0.5 * mean_square_norm(joint, positive, negative),
        }

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Everything from the graph, by mean codes; new items are nodes without edges, scaled by the gain."""
        content = self._content if features is None else content_of(features, self._device)
        with torch.no_grad():
            states = self._states(content)
            items = fuse(self._encoder.means(states.items), content.present).cpu().numpy()
            users = (self._network.users + states.users.mean(dim=0)).cpu().numpy()
        items[~self._warm] = encode(self._encoder, content)[~self._warm]
        return Embeddings(users, items, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by ridge regression on the item rows."""
        return ridge_fold_in(indptr, indices, self.embeddings().items)

    def as_new(self) -> NDArray[np.float32]:
        """Every item as a node without edges, (n_items, d)."""
        return encode(self._encoder, self._content)

    def calibrate(self, gain: float) -> None:
        """Sets the factor by which new items are pushed."""
        set_gain(self._encoder.new_item_gain, gain)

    def encoder(self) -> nn.Module:
        """Projections and code heads."""
        return self._encoder

    def hidden_state(self) -> dict[str, Any]:
        """The critics, and what draws codes and breaks pairs."""
        return {
            "generator": self._generator.get_state(),
            "critics": [critic.state_dict() for critic in self._critics],
        }

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self._generator.set_state(state["generator"])
        for critic, kept in zip(self._critics, state["critics"], strict=True):
            critic.load_state_dict(kept)

    def _states(self, content: Content) -> States:
        network = self._network
        return propagate(self._graph, network.users, self._encoder.projections, content, self._settings.layers)

    def _compression(self, posteriors: Posterior, counted: Tensor) -> Tensor:
        """The KL terms, each over the items whose code counts."""
        terms = []
        for mean, precision, rows in zip(*posteriors, counted.T, strict=True):
            if rows.any():
                terms.append(bottleneck_kl(Posterior(mean[rows], precision[rows]), mean.new_zeros(()), 0.0))
        return torch.stack(terms).sum()

    def _redundancy(self, codes: Tensor, present: Tensor) -> Tensor:
        """The bounds, summed over pairs of modalities; what they were asked about is kept for the critics."""
        self._judged = [(codes[a][both], codes[b][both]) for a, b, both in self._both(present)]
        bounds = [
            critic.bound(x, y, self._generator)
            for critic, (x, y) in zip(self._critics, self._judged, strict=True)
            if len(x) >= _FEWEST
        ]
        self._judged = [(x.detach(), y.detach()) for x, y in self._judged]
        return torch.stack(bounds).sum() if bounds else codes.new_zeros(())

    def _both(self, present: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        for a, b in self._pairs:
            yield a, b, present[:, a] & present[:, b]

    def _fit_critics(self) -> None:
        for critic, (x, y) in zip(self._critics, self._judged, strict=False):  # empty where no loss was asked for
            if len(x) >= _FEWEST:
                for _ in range(self._settings.critic_steps):
                    critic.fit(x, y, self._generator)
        self._judged = []


def _counted(present: Tensor) -> Tensor:
    """The modalities whose codes count, (b, n_modalities) bool: those present, or all where none is."""
    return present | ~present.any(dim=1, keepdim=True)


def _risk(users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    return bpr_risk((users * positives).sum(dim=1), (users * negatives).sum(dim=1))


def _xavier(d: int) -> nn.Linear:
    layer = nn.Linear(d, d)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
