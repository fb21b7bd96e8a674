"""DGMRec (SIGIR 2025, arXiv 2504.16352): modalities split into general and specific parts, missing ones generated.

Per modality an item's features x^m become a general part ``g^m = f_g(h_m(x^m))``, f_g shared by all modalities, and a
specific part ``s^m = f_s,m(x^m)``. Both are gated by a preference, the mean over the item's users of what their ID
embeddings say about the modality, and handed on over a graph of the ten nearest items. An item is its LightGCN state
(three layers over ID embeddings) plus the content ``mean(s^1, …, s^M, mean_m g^m)``, a user the LightGCN state plus the
mean content of the items.

Beside BPR: reconstruction of x^m from (g^m, s^m); generation of g^m from the other modalities and of s^m from the
preference, learned where x^m is known; CLUB between g^m and s^m; InfoNCE between the general parts, between users and
items (LightGCN states, general and specific content), and between the LightGCN state and the general content of users
and of items alike. At the start of each epoch the features of absent modalities are generated anew,
``x^m = decoder(g^m, s^m)``; every fifth epoch the graph rows of the items concerned are refreshed,
``S ← λ S_new + (1 - λ) S``.

As published: f's are linear with sigmoid (tanh inside), ``p^m = mean_u tanh(W_m e_u)`` multiplies both parts,
generators have two layers with tanh between, λ is 0.4, generation weighs 1, τ is 0.2, tables begin as Xavier's
initialisation has them. What differs, or is left open:

- The released code lets the raw features themselves be learned, item by item: ID embeddings in disguise, which no new
  item has. Here they are data, standardised with the columns' means and deviations in training.
- The parts that are generated, decoded and disentangled are those before gate and graph, without added noise; the
  generators' targets get no gradient, and g is generated from the mean of the modalities that are there (zeros with
  none).
- The item graphs join items with training interactions alone, and neighbours are items whose modality is known;
  incomplete items begin as self loops, and a refresh looks for their neighbours with generated features. A row is the
  mean of its neighbours (equal weights).
- InfoNCE is the mean of both directions, over the first 1,024 pairs of a batch: it is most of a step. The norm
  penalty, 1e-4, is on the ID embeddings of the batch.
- CLUB's networks are fitted at the start of an epoch, as I³-MRec's are, and get no gradient from the loss.

New items, which the published model knows only with their clicks, come from the encoder alone here: a small network
learns to predict an item's preferences from its general parts, and gates and generates with them; there are no
neighbours, and nothing in place of the ID. ``calibrate`` gives new items the warm scale. Other features in
``embeddings`` leave the item graphs as they are. The graphs are part of the network's state: a checkpoint holds those
its parameters were trained with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from torch import Tensor, nn

from training.config import TrainConfig
from training.content import Content, content_of, encode, set_gain, share_present, standardisation
from training.critics import ClubEstimator
from training.features import ModalityFeatures
from training.foldin import ridge_fold_in
from training.graph import normalised_adjacency
from training.losses import LEAST_TEMPERATURE, alignment, bpr_risk, mean_square_norm, mutual_info_nce
from training.models.contract import Embeddings, TrainingData
from training.models.settings import bounded, chosen_settings
from training.neighbours import neighbour_graph
from training.propagation import Graph, mean_of_layers
from training.sampling import PairBatch, PairSampler

_FEWEST = 2  # things without which there is no contrast


@dataclass(frozen=True, slots=True)
class Settings:
    """DGMRec's own hyper-parameters.

    Attributes:
        layers: of LightGCN over users and items.
        neighbours: k of the item graphs.
        refresh_every: epochs between refreshes of incomplete items' graph rows.
        refresh_share: λ, how much of a refreshed row is new; published 0.4 (Baby), 0.8 (Sports), 0 (Clothing).
        reconstruction: weight of the decoder's error.
        generation: weight of the generators' error; published 0.1 (Baby), 1 (Sports, Clothing).
        disentangling: weight of CLUB.
        general: weight of InfoNCE between general parts.
        interaction: weight of InfoNCE between users and items.
        behaviour: weight of InfoNCE between LightGCN states and general content.
        preference: weight of the predicted preferences' error; ours.
        norm: weight of the ID embeddings' squared norms.
        contrasted: pairs of a batch that enter InfoNCE, at most.
        temperature: τ; published 0.1 to 0.4.
        club_steps: fitting steps of CLUB's networks at the start of an epoch.
        club_items: random items they are fitted on.
        club_lr: their step size.
    """

    layers: int = 3
    neighbours: int = bounded(10, least=1)
    refresh_every: int = bounded(5, least=1)
    refresh_share: float = bounded(0.4, most=1)
    reconstruction: float = 0.1
    generation: float = 1.0
    disentangling: float = 0.01
    general: float = 0.01
    interaction: float = 0.01
    behaviour: float = 0.01
    preference: float = 1.0
    norm: float = 1e-4
    contrasted: int = bounded(1024, least=1)
    temperature: float = bounded(0.2, least=LEAST_TEMPERATURE)
    club_steps: int = 10
    club_items: int = bounded(2048, least=1)
    club_lr: float = 1e-3


class Parts(NamedTuple):
    """The two parts of each modality, (n_modalities, b, d) each."""

    general: Tensor
    specific: Tensor

    def content(self) -> Tensor:
        """``mean(s^1, …, s^M, mean_m g^m)``, (b, d)."""
        return (self.specific.sum(dim=0) + self.general.mean(dim=0)) / (len(self.specific) + 1)

    def gated(self, preferences: Tensor) -> "Parts":
        """Both parts times the preferences (n_modalities, b, d)."""
        return Parts(preferences * self.general, preferences * self.specific)

    def rows(self, chosen: Tensor) -> "Parts":
        """The parts of some items."""
        return Parts(self.general[:, chosen], self.specific[:, chosen])


class ContentEncoder(nn.Module):
    """Splitting, generation and reconstruction of features; with graphs and IDs left out, a new item."""

    def __init__(self, features: Mapping[str, ModalityFeatures], warm: NDArray[np.bool_], d: int) -> None:
        super().__init__()
        self.center, self.scale = nn.ParameterList(), nn.ParameterList()
        for modality in features.values():
            for statistics, values in zip((self.center, self.scale), standardisation(modality, warm), strict=True):
                statistics.append(nn.Parameter(values, requires_grad=False))
        dims = [modality.dim for modality in features.values()]
        self.hidden = nn.ModuleList([nn.Linear(d_m, d) for d_m in dims])
        self.shared = nn.Linear(d, d)
        self.own = nn.ModuleList([nn.Linear(d_m, d) for d_m in dims])
        self.decoder = nn.ModuleList([_perceptron(2 * d, d, d_m) for d_m in dims])
        self.generate_general = nn.ModuleList([_perceptron(d, d, d) for _ in dims])
        self.generate_specific = nn.ModuleList([_perceptron(d, d, d) for _ in dims])
        self.expect = nn.ModuleList([_perceptron(d, d, d) for _ in dims])
        self.new_item_gain = nn.Parameter(torch.ones(()), requires_grad=False)

    def standardise(self, features: list[Tensor], present: Tensor) -> list[Tensor]:
        """Features (b, d_m) of each modality with training statistics; zero where absent, whatever stands there."""
        return [
            torch.where(present[:, m : m + 1], (raw - self.center[m]) / self.scale[m], 0.0)
            for m, raw in enumerate(features)
        ]

    def split(self, rows: list[Tensor]) -> Parts:
        """The parts of standardised features."""
        hidden = [torch.tanh(layer(x)) for layer, x in zip(self.hidden, rows, strict=True)]
        general = [torch.sigmoid(self.shared(h)) for h in hidden]
        specific = [torch.sigmoid(own(x)) for own, x in zip(self.own, rows, strict=True)]
        return Parts(torch.stack(general), torch.stack(specific))

    def generate(self, general: Tensor, present: Tensor, preferences: Tensor) -> Parts:
        """The parts of each modality by the others' general parts and by preferences, (n_modalities, b, d) each."""
        shown = present.T[:, :, None].to(general.dtype)
        total, count = (general * shown).sum(dim=0), shown.sum(dim=0)
        others = (total - general * shown) / (count - shown).clamp(min=1)
        return Parts(
            torch.stack([net(x) for net, x in zip(self.generate_general, others, strict=True)]),
            torch.stack([net(p) for net, p in zip(self.generate_specific, preferences, strict=True)]),
        )

    def expected_preferences(self, general: Tensor, present: Tensor) -> Tensor:
        """Preferences (n_modalities, b, d) as general parts (n_modalities, b, d) of what is present suggest them."""
        shown = present.T[:, :, None].to(general.dtype)
        known = (general * shown).sum(dim=0) / shown.sum(dim=0).clamp(min=1)
        return torch.stack([torch.tanh(net(known)) for net in self.expect])

    def reconstruct(self, parts: Parts) -> list[Tensor]:
        """Standardised features from their parts."""
        both = torch.cat(parts, dim=2)
        return [net(x) for net, x in zip(self.decoder, both, strict=True)]

    def complete(self, features: list[Tensor], present: Tensor, preferences: Tensor) -> list[Tensor]:
        """Standardised features, generated where a modality is absent."""
        rows = self.standardise(features, present)
        generated = self.reconstruct(self.generate(self.split(rows).general, present, preferences))
        return [torch.where(present[:, m : m + 1], x, generated[m]) for m, x in enumerate(rows)]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(features (b, d_m) of each modality…, present (b, n_modalities)) → embedding, confidence."""
        *features, present = inputs
        general = self.split(self.standardise(list(features), present)).general
        preferences = self.expected_preferences(general, present)
        parts = self.split(self.complete(list(features), present, preferences))
        return self.new_item_gain * parts.gated(preferences).content(), share_present(present)


class _Network(nn.Module):
    """All that is learned, and the item graphs it was learned with."""

    def __init__(self, content: ContentEncoder, n_users: int, n_items: int, n_modalities: int, d: int) -> None:
        super().__init__()
        self.content = content
        self.users = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_users, d)))
        self.items = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_items, d)))
        self.preferences = nn.Linear(d, n_modalities * d, bias=False)
        nn.init.xavier_uniform_(self.preferences.weight)
        self.graphs: list[csr_matrix] = []

    def get_extra_state(self) -> list[dict[str, Tensor]]:
        """The item graphs, as tensors that checkpoints can hold; they are replaced, never changed in place."""
        names = ("data", "indices", "indptr")
        return [{name: torch.from_numpy(getattr(graph, name)) for name in names} for graph in self.graphs]

    def set_extra_state(self, state: list[dict[str, Tensor]]) -> None:
        """Puts the item graphs back."""
        shape = (len(self.items), len(self.items))
        parts = [[graph[name].numpy() for name in ("data", "indices", "indptr")] for graph in state]
        self.graphs = [csr_matrix(tuple(arrays), shape=shape) for arrays in parts]


class _View(NamedTuple):
    """Everything one pass over the graphs gives.

    Attributes:
        parts: of all items, before gate and graph.
        preferences: (n_modalities, n_items, d).
        item_ids: (n_items, d) LightGCN states.
        items: the items' parts behind gate and graph.
        user_ids: (n_users, d) LightGCN states.
        users: the users' means of these.
    """

    parts: Parts
    preferences: Tensor
    item_ids: Tensor
    items: Parts
    user_ids: Tensor
    users: Parts

    def tables(self) -> tuple[Tensor, Tensor]:
        """Users and items, (n, d) each."""
        return self.user_ids + self.users.content(), self.item_ids + self.items.content()


class DGMRec:
    """The preset ``dgmrec``. See the module's docstring."""

    settings_kind: ClassVar[type] = Settings

    def __init__(
        self, data: TrainingData, config: TrainConfig, device: torch.device, settings: Settings | None = None
    ) -> None:
        self._settings = settings = settings or chosen_settings(Settings, config.settings)
        self._data, self._device = data, device
        self._warm = data.popularity() > 0
        self._content = content_of(data.features, device)
        self._graph = Graph(normalised_adjacency(data.indptr, data.indices, data.n_items), device)
        shape = (data.n_users, data.n_items)
        interactions = csr_matrix((np.ones(len(data.indices)), data.indices, data.indptr), shape=shape)
        self._to_users = Graph(_row_means(interactions), device)
        self._to_items = Graph(_row_means(interactions.T.tocsr()), device)
        self._generator = torch.Generator(device).manual_seed(config.seed)
        self._sampler = PairSampler(data.indptr, data.indices, data.n_items, batch_pairs=config.batch_pairs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            encoder = ContentEncoder(data.features, self._warm, config.d)
            self._network = _Network(encoder, *shape, len(data.features), config.d).to(device)
            self._clubs = [ClubEstimator(config.d, config.d, device, lr=settings.club_lr) for _ in data.features]
        self._encoder = encoder
        self._network.graphs = self._first_graphs()
        self._item_graphs, self._completed = self._prepare(self._content)
        self._epoch = 0

    @property
    def network(self) -> nn.Module:
        """ID embeddings, preferences, everything about content, and the item graphs; CLUB's networks are none of it."""
        return self._network

    @property
    def history_rule(self) -> None:
        """Users exist only as rows."""
        return

    def batches(self, rng: np.random.Generator) -> Iterator[PairBatch]:
        """Generates what is missing, refreshes graphs, fits CLUB's networks, then gives the batches of one epoch."""
        if self._epoch and self._epoch % self._settings.refresh_every == 0:
            self._refresh_graphs()
        self._epoch += 1
        self._item_graphs, self._completed = self._prepare(self._content)
        self._fit_clubs(rng)
        yield from self._sampler.epoch(rng)

    def loss(self, batch: PairBatch, progress: float) -> dict[str, Tensor]:  # noqa: ARG002 - DGMRec has no schedule
        """Ranking risk and the eight terms beside it; see the module's docstring."""
        settings = self._settings
        users, positives, negatives = (
            torch.from_numpy(rows).to(self._device) for rows in (batch.users, batch.positives, batch.negatives)
        )
        view = self._look(self._item_graphs, self._completed)
        user_table, items = view.tables()
        user_rows, network = user_table[users], self._network
        some = slice(settings.contrasted)
        chosen, given = torch.unique(positives[some]), torch.unique(users[some])
        behaviour = [
            self._contrast(view.item_ids[chosen], view.items.general[:, chosen].mean(dim=0)),
            self._contrast(view.user_ids[given], view.users.general[:, given].mean(dim=0)),
        ]
        norm = mean_square_norm(network.users[users], network.items[positives], network.items[negatives])
        score, other = ((user_rows * items[rows]).sum(dim=1) for rows in (positives, negatives))
        return {
            "ranking": bpr_risk(score, other),
            **self._content_terms(view, chosen),
            "interaction": settings.interaction * self._interaction(view, users[some], positives[some]),
            "behaviour": settings.behaviour * torch.stack(behaviour).sum(),
            "norm": settings.norm * norm,
        }

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Everything from the graphs; new items as the encoder places them."""
        content = self._content if features is None else content_of(features, self._device)
        with torch.no_grad():
            view = self._look(*self._prepare(content))
            users, items = (table.cpu().numpy() for table in view.tables())
        items[~self._warm] = encode(self._encoder, content)[~self._warm]
        return Embeddings(users, items, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by ridge regression on the item rows."""
        return ridge_fold_in(indptr, indices, self.embeddings().items)

    def as_new(self) -> NDArray[np.float32]:
        """Every item from its features alone, (n_items, d)."""
        return encode(self._encoder, self._content)

    def calibrate(self, gain: float) -> None:
        """Sets the factor by which new items are pushed."""
        set_gain(self._encoder.new_item_gain, gain)

    def encoder(self) -> nn.Module:
        """Everything about content."""
        return self._encoder

    def hidden_state(self) -> dict[str, Any]:
        """CLUB's networks, what breaks pairs, and the epochs that refreshes are counted in."""
        return {
            "epoch": self._epoch,
            "generator": self._generator.get_state(),
            "clubs": [club.state_dict() for club in self._clubs],
        }

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self._epoch = state["epoch"]
        self._generator.set_state(state["generator"])
        for club, kept in zip(self._clubs, state["clubs"], strict=True):
            club.load_state_dict(kept)

    def _look(self, item_graphs: list[Graph], completed: list[Tensor]) -> _View:
        """One pass over all graphs, with the features as completed."""
        network = self._network
        parts, preferences = self._encoder.split(completed), self._item_preferences()
        gated = torch.cat(parts.gated(preferences), dim=2)
        items = torch.stack([graph @ x for graph, x in zip(item_graphs, gated, strict=True)])
        n_modalities, n_items, width = items.shape
        users = self._to_users @ items.transpose(0, 1).reshape(n_items, -1)
        users = users.view(-1, n_modalities, width).transpose(0, 1)
        ids = mean_of_layers(self._graph, torch.cat([network.users, network.items]), self._settings.layers)
        return _View(
            parts,
            preferences,
            item_ids=ids[len(network.users) :],
            items=Parts(*items.chunk(2, dim=2)),
            user_ids=ids[: len(network.users)],
            users=Parts(*users.chunk(2, dim=2)),
        )

    def _item_preferences(self) -> Tensor:
        """What an item's users look for in each modality, (n_modalities, n_items, d); zero for new items."""
        network = self._network
        means = self._to_items @ torch.tanh(network.preferences(network.users))
        return means.view(self._data.n_items, len(self._data.features), -1).transpose(0, 1)

    def _interaction(self, view: _View, users: Tensor, positives: Tensor) -> Tensor:
        """InfoNCE between users and their items: LightGCN states, general content, each specific content."""
        pairs = [
            (view.user_ids, view.item_ids),
            (view.users.general.mean(dim=0), view.items.general.mean(dim=0)),
            *zip(view.users.specific, view.items.specific, strict=True),
        ]
        return torch.stack([self._contrast(of_users[users], items[positives]) for of_users, items in pairs]).sum()

    def _contrast(self, a: Tensor, b: Tensor) -> Tensor:
        """InfoNCE, the mean of both directions."""
        return 0.5 * mutual_info_nce(a, b, self._settings.temperature)

    def _content_terms(self, view: _View, chosen: Tensor) -> dict[str, Tensor]:
        """Reconstruction, generation, disentangling and the general parts' agreement on ``chosen`` item rows."""
        settings, present = self._settings, self._content.present[chosen]
        parts, preferences = view.parts.rows(chosen), view.preferences[:, chosen]
        rebuilt = self._encoder.reconstruct(parts)
        generated = self._encoder.generate(parts.general, present, preferences)
        expected = self._encoder.expected_preferences(parts.general.detach(), present)
        several = present.sum(dim=1) > 1
        zero = parts.general.new_zeros(())
        errors, gaps, leaks = zero, zero, zero
        for m, club in enumerate(self._clubs):
            known = present[:, m]
            general, specific = parts.general[m], parts.specific[m]
            errors = errors + alignment(rebuilt[m], self._completed[m][chosen], known)
            gaps = gaps + alignment(generated.general[m], general.detach(), known & several)
            gaps = gaps + alignment(generated.specific[m], specific.detach(), known)
            leaks = leaks + club.bound(general, specific, self._generator)
        pairs = [
            self._contrast(parts.general[a][both], parts.general[b][both])
            for a, b in combinations(range(len(self._clubs)), 2)
            if len(both := torch.nonzero(present[:, a] & present[:, b]).squeeze(1)) >= _FEWEST
        ]
        return {
            "reconstruction": settings.reconstruction * errors,
            "generation": settings.generation * gaps,
            "disentangling": settings.disentangling * leaks,
            "general": settings.general * (torch.stack(pairs).sum() if pairs else zero),
            "preference": settings.preference * ((expected - preferences.detach()) ** 2).mean(),
        }

    @torch.no_grad()
    def _prepare(self, content: Content) -> tuple[list[Graph], list[Tensor]]:
        """The item graphs on the device, and the features of all items, completed."""
        completed = self._encoder.complete(*content, self._item_preferences())
        return [Graph(graph, self._device) for graph in self._network.graphs], completed

    def _first_graphs(self) -> list[csr_matrix]:
        """Neighbours among warm items whose modality is known; other warm items are their own."""
        rows, graphs = self._encoder.standardise(*self._content), []
        for m, x in enumerate(rows):
            known = self._warm & self._content.present[:, m].cpu().numpy()
            loops = diags((self._warm & ~known).astype(np.float64), format="csr")
            graphs.append(neighbour_graph(x, known, known, self._settings.neighbours) + loops)
        return graphs

    def _refresh_graphs(self) -> None:
        """Moves the rows of incomplete items towards the neighbours of their generated features."""
        share, refreshed = self._settings.refresh_share, []
        _, completed = self._prepare(self._content)
        for m, (x, graph) in enumerate(zip(completed, self._network.graphs, strict=True)):
            known = self._warm & self._content.present[:, m].cpu().numpy()
            lacking = self._warm & ~known
            new = neighbour_graph(x, lacking, known, self._settings.neighbours)
            kept = diags(np.where(lacking & (np.diff(new.indptr) > 0), 1 - share, 1.0), format="csr")
            refreshed.append((kept @ graph + share * new).tocsr())
        self._network.graphs = refreshed

    @torch.no_grad()
    def _fit_clubs(self, rng: np.random.Generator) -> None:
        rows = rng.permutation(np.flatnonzero(self._warm))[: self._settings.club_items]
        chosen = torch.from_numpy(rows).to(self._device)
        parts = self._encoder.split([x[chosen] for x in self._completed])
        for club, general, specific in zip(self._clubs, *parts, strict=True):
            club.fit(general, specific, self._settings.club_steps)


def _perceptron(d_in: int, hidden: int, d_out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d_in, hidden), nn.Tanh(), nn.Linear(hidden, d_out))


def _row_means(matrix: csr_matrix) -> csr_matrix:
    """The matrix with rows that sum to 1, but for empty ones."""
    return diags(1 / np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1), format="csr") @ matrix
