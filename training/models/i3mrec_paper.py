"""I³-MRec as its authors released it (arXiv 2508.04247): the rival that the default preset has to beat.

Per modality a graph encoder over a user table that all share; an item is ``F(mean of its modality states)``, a user
the table's row plus the mean of its modality states, and there is no item ID. Single modalities are the environments,
the variance of their risks the "IRM" term (V-REx; the release has no gradient penalty). The bottleneck is two terms:
InfoNCE between all subsets of the modalities, and CLUB's bound on what the item keeps of each modality.

As released, with effects worth knowing:

- a missing modality is a zero row after normalisation, which the projection turns into its bias, and subsets are
  divided by the number of all modalities, not of theirs: both let incomplete items shrink or look alike;
- the item states are cut off from the gradient before F, so that the projections learn from the environment risks and
  from the users' side alone;
- the InfoNCE sum is scaled by 1 + 1/6, and the repeated positives of a batch count as each other's negatives.

Changed:

- CLUB's networks are fitted to the item representation z whose information they are to bound, not to the projected
  feature, and get no gradient from the main loss (the release's optimiser held them, too, and drove them to lower it);
- negatives, and the items CLUB is fitted on, come from items with training interactions alone; the release draws
  negatives from all items, which would bury those held out;
- F's dropout is one draw per item and view in a step, also where an item stands twice in the batch: InfoNCE is then
  computed over distinct items, weighted, which is exact and several times cheaper;
- selection is by validation, not by test (the loop's doing).

Items without training interactions are nodes without edges. As in the release their state is a quarter of a unit vector
(only the first of four layers is not zero), which the encoder computes from content alone. Their rows come out at about
half the warm norm and hardly ever surface beside warm items; ``calibrate`` scales them, which the release does not.

Nothing of this needs two modalities: with one there are no variance and no InfoNCE. With M of them InfoNCE has a matrix
of the batch's items for each of the C(2^M - 1, 2) pairs of subsets: 3 for two, 21 for three, 105 for four; more are out
of reach.
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
from training.content import Content, content_of, encode, set_gain, share_present, unit_rows
from training.critics import ClubEstimator
from training.environments import subsets
from training.features import ModalityFeatures
from training.foldin import ridge_fold_in
from training.graph import normalised_adjacency
from training.losses import LEAST_TEMPERATURE, bpr_risk, mean_square_norm, mutual_info_nce, risk_variance
from training.models.contract import Embeddings, TrainingData
from training.models.modality_graph import Projections, States, propagate, user_table
from training.models.settings import bounded, chosen_settings
from training.propagation import Graph
from training.sampling import PairBatch, PairSampler

_RELEASED_FACTOR = 1 + 1 / 6


@dataclass(frozen=True, slots=True)
class Settings:
    """The release's own hyper-parameters, as it sets them for Amazon Baby.

    Attributes:
        layers: of the graph encoders (the paper's figure says 1, the code 3).
        dropout: inside F.
        temperature: τ of InfoNCE.
        variance: λ_pen, weight of the variance of the environment risks.
        agreement: λ_max, weight of InfoNCE.
        compression: λ_min, weight of CLUB.
        norm: λ_reg, weight of the squared norms.
        club_steps: fitting steps of CLUB's networks at the start of an epoch.
        club_items: random items they are fitted on.
        club_lr: their step size.
    """

    layers: int = 3
    dropout: float = bounded(0.5, below=1)
    temperature: float = bounded(0.4, least=LEAST_TEMPERATURE)
    variance: float = 300.0
    agreement: float = 1e-3
    compression: float = 1e-5
    norm: float = 1e-3
    club_steps: int = 10
    club_items: int = bounded(2048, least=1)
    club_lr: float = 1e-4


class ContentEncoder(nn.Module):
    """Projections and fusion: all that an item's content passes through; with the graph left out, a new item."""

    def __init__(self, features: Mapping[str, ModalityFeatures], d: int, layers: int) -> None:
        super().__init__()
        self.projections = Projections(features, d)
        self.fusion = nn.Linear(d, d, bias=False)
        nn.init.eye_(self.fusion.weight)
        self.new_item_gain = nn.Parameter(torch.ones(()), requires_grad=False)
        self._layers = layers

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(features (b, d_m) of each modality…, present (b, n_modalities)) → embedding, confidence."""
        *features, present = inputs
        states = self.projections.alone(features, present, self._layers)
        return self.new_item_gain * torch.tanh(self.fusion(states.mean(dim=0))), share_present(present)


class _Network(nn.Module):
    """All that is learned."""

    def __init__(self, content: ContentEncoder, n_users: int, d: int) -> None:
        super().__init__()
        self.content = content
        self.users = user_table(n_users, d)


class I3MRecPaper:
    """The preset ``i3mrec-paper``. See the module's docstring."""

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
        self._subsets = subsets(len(data.features)).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            encoder = ContentEncoder(data.features, config.d, settings.layers)
            self._network = _Network(encoder, data.n_users, config.d).to(device)
            self._clubs = [
                ClubEstimator(modality.dim, config.d, device, lr=settings.club_lr)
                for modality in data.features.values()
            ]
        self._encoder = encoder
        self._inputs = [torch.sigmoid(x) for x in unit_rows(*self._content)]
        self._expected: list[tuple[Tensor, Tensor]] = []  # what CLUB's networks say of them in this epoch

    @property
    def network(self) -> nn.Module:
        """User table, projections and fusion; CLUB's networks are none of it."""
        return self._network

    @property
    def history_rule(self) -> None:
        """Users exist only as rows."""
        return

    def batches(self, rng: np.random.Generator) -> Iterator[PairBatch]:
        """Fits CLUB's networks, then gives the batches of one epoch."""
        self._fit_clubs(rng)
        yield from self._sampler.epoch(rng)

    def loss(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002 - the release has no schedule
        """Ranking risk, environment risks, their variance, agreement of subsets, compression, norms."""
        settings = self._settings
        users, positives, negatives = (
            torch.from_numpy(rows).to(self._device) for rows in (batch.users, batch.positives, batch.negatives)
        )
        states = self._states(self._content)
        risks = self._environment_risks(states, users, positives, negatives)
        fixed = states.items.detach()
        items = self._fuse(fixed.mean(dim=0), drop=True)
        user_rows = (self._network.users + states.users.mean(dim=0))[users]
        chosen = user_rows, items[positives], items[negatives]
        return {
            "ranking": bpr_risk((chosen[0] * chosen[1]).sum(dim=1), (chosen[0] * chosen[2]).sum(dim=1)),
            "environments": risks.sum(),
            "invariance": settings.variance * risk_variance(risks),
            "agreement": settings.agreement * self._agreement(fixed, positives),
            "compression": settings.compression * self._compression(items, positives),
            "norm": settings.norm * 0.5 * mean_square_norm(*chosen),
        }

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Everything from the graph; new items are nodes without edges, scaled by the gain."""
        content = self._content if features is None else content_of(features, self._device)
        with torch.no_grad():
            states = self._states(content)
            items = self._fuse(states.items.mean(dim=0)).cpu().numpy()
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
        """Projections and fusion."""
        return self._encoder

    def hidden_state(self) -> dict[str, Any]:
        """CLUB's networks, and what drops and breaks pairs."""
        return {
            "generator": self._generator.get_state(),
            "clubs": [club.state_dict() for club in self._clubs],
        }

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self._generator.set_state(state["generator"])
        for club, kept in zip(self._clubs, state["clubs"], strict=True):
            club.load_state_dict(kept)

    def _states(self, content: Content) -> States:
        network = self._network
        return propagate(self._graph, network.users, network.content.projections, content, self._settings.layers)

    def _fuse(self, items: Tensor, *, drop: bool = False) -> Tensor:
        """``F``: linear, dropout, tanh."""
        fused: Tensor = self._encoder.fusion(items)
        if drop and self._settings.dropout:
            kept = torch.rand(fused.shape, generator=self._generator, device=fused.device) >= self._settings.dropout
            fused = fused * kept / (1 - self._settings.dropout)
        return torch.tanh(fused)

    def _environment_risks(self, states: States, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Each modality's own risk, (n_modalities,)."""
        risks = []
        for of_users, items in zip(states.users, states.items, strict=True):
            rows = self._network.users[users] + of_users[users]
            risks.append(bpr_risk((rows * items[positives]).sum(dim=1), (rows * items[negatives]).sum(dim=1)))
        return torch.stack(risks)

    def _agreement(self, items: Tensor, positives: Tensor) -> Tensor:
        """InfoNCE of all ordered pairs of subsets; ``items`` (n_modalities, n_items, d) without gradient."""
        rows, counts = torch.unique(positives, return_counts=True)
        shares = self._subsets.to(items.dtype) / len(items)
        views = self._fuse(torch.einsum("sm,mbd->sbd", shares, items[:, rows]), drop=True)
        pairs = [mutual_info_nce(a, b, self._settings.temperature, counts) for a, b in combinations(views, 2)]
        return _RELEASED_FACTOR * torch.stack(pairs).sum() if pairs else views.new_zeros(())

    def _compression(self, items: Tensor, positives: Tensor) -> Tensor:
        """The mean of CLUB's bounds over the modalities."""
        kept = torch.sigmoid(items[positives])
        bounds = [
            ClubEstimator.bound_of((mean[positives], log_variance[positives]), kept, self._generator)
            for mean, log_variance in self._expected
        ]
        return torch.stack(bounds).mean()

    @torch.no_grad()
    def _fit_clubs(self, rng: np.random.Generator) -> None:
        warm = np.flatnonzero(self._warm)
        rows = torch.from_numpy(rng.permutation(warm)[: self._settings.club_items]).to(self._device)
        kept = torch.sigmoid(self._fuse(self._states(self._content).items.mean(dim=0)[rows]))
        for club, x in zip(self._clubs, self._inputs, strict=True):
            club.fit(x[rows], kept, self._settings.club_steps)
        self._expected = [club.predict(x) for club, x in zip(self._clubs, self._inputs, strict=True)]
