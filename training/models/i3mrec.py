"""I³-MRec: invariant learning over modality environments and an information-bottleneck fusion, for items as they come.

After arXiv 2508.04247, with its two ideas on a backbone that has a place for new items and new users:

- every modality m has an expert q(c | x^m) = N(μ_m, 1/p_m); the experts of whatever is present are multiplied with a
  prior into one posterior, and a KL term compresses it (the bottleneck, in place of the paper's CLUB bound);
- the modalities alone are environments; the risks in them are kept low and alike (the paper's variance penalty);
- an item is its content code plus an ID embedding which is left out at random, so that a new item, which has none, is
  a case the model has met;
- a user is one propagation step over the user–item graph: the degree-normalised sum of the items of the history. There
  is no user table, hence no user too new.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu

from model_store import HistoryRule
from training.config import TrainConfig
from training.environments import simulate_missing, single_modality
from training.features import ModalityFeatures
from training.foldin import fold_in
from training.fusion import Posterior, product_of_experts
from training.losses import bottleneck_kl, risk_variance, sampling_correction, softmax_risk
from training.models.contract import Embeddings, TrainingData
from training.sampling import Batch, UserSampler

_GAIN = 4.0  # standardised features of unit norm are scaled up to where the experts' activations are not all linear
_LOG_PRECISION = (-6.0, 4.0)
_CONSTANT = 1e-6
_BLOCK = 16384


class ContentEncoder(nn.Module):
    """Raw features of whatever is present → posterior over the content code → the item's rows on either side."""

    def __init__(self, features: Mapping[str, ModalityFeatures], known: Tensor, d: int, hidden: int) -> None:
        super().__init__()
        self.center, self.scale = nn.ParameterList(), nn.ParameterList()
        for modality in features.values():
            rows = modality.matrix[modality.present & known.numpy()]
            center, scale = _standardisation(rows)
            self.center.append(nn.Parameter(torch.from_numpy(center), requires_grad=False))
            self.scale.append(nn.Parameter(torch.from_numpy(scale), requires_grad=False))
        dims = [modality.dim for modality in features.values()]
        self.trunk = nn.ModuleList([nn.Linear(d_m, hidden) for d_m in dims])
        self.mean = nn.ModuleList([nn.Linear(hidden, d) for _ in dims])
        self.log_precision = nn.ModuleList([nn.Linear(hidden, d) for _ in dims])
        self.prior_mean = nn.Parameter(torch.zeros(d))
        self.item_side = nn.Linear(d, d, bias=False)
        self.history_side = nn.Linear(d, d, bias=False)
        self.new_item_gain = nn.Parameter(torch.ones(()), requires_grad=False)

    def experts(
        self, features: list[Tensor], present: Tensor, drop: Callable[[Tensor], Tensor] = lambda x: x
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Means and precisions of each modality's expert, (b, d) each; what stands in an absent row never matters."""
        means, precisions = [], []
        for m, raw in enumerate(features):
            x = torch.where(present[:, m : m + 1], (raw - self.center[m]) / self.scale[m], 0.0)
            x = _GAIN * x / x.norm(dim=1, keepdim=True).clamp(min=1e-6)
            h = drop(gelu(self.trunk[m](drop(x))))
            means.append(self.mean[m](h))
            precisions.append(self.log_precision[m](h).clamp(*_LOG_PRECISION).exp())
        return means, precisions

    def posterior(self, features: list[Tensor], present: Tensor) -> Posterior:
        """The fused posterior over the content code."""
        return product_of_experts(*self.experts(features, present), present, self.prior_mean)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(features (b, d_m) of each modality…, present (b, n_modalities)) → embedding, history row, confidence."""
        *features, present = inputs
        posterior = self.posterior(list(features), present)
        embedding = self.new_item_gain * self.item_side(posterior.mean)
        return embedding, self.history_side(posterior.mean), posterior.confidence()


class _Network(nn.Module):
    """All that is learned: the content encoder and an ID embedding of every item on either side."""

    def __init__(self, content: ContentEncoder, n_items: int, config: TrainConfig) -> None:
        super().__init__()
        self.content = content
        self.item_id = nn.Parameter(torch.randn(n_items, config.d) * config.id_scale)
        self.history_id = nn.Parameter(torch.randn(n_items, config.d) * config.id_scale)


class I3MRec:
    """The default preset. See the module's docstring."""

    def __init__(self, data: TrainingData, config: TrainConfig, device: torch.device) -> None:
        popularity = data.popularity()
        self._data, self._config, self._device = data, config, device
        self._features = [torch.from_numpy(f.matrix).to(device) for f in data.features.values()]
        self._present = torch.from_numpy(np.stack([f.present for f in data.features.values()], axis=1)).to(device)
        self._warm = torch.from_numpy(popularity > 0).to(device)
        self._generator = torch.Generator(device).manual_seed(config.seed)
        self._sampler = UserSampler(
            data.indptr,
            data.indices,
            np.flatnonzero(popularity),
            batch_users=config.batch_users,
            candidates=config.candidates,
            history_dropout=config.history_dropout,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            content = ContentEncoder(data.features, torch.from_numpy(popularity > 0), config.d, config.hidden)
            self._network = _Network(content, data.n_items, config).to(device)
        self._content = content

    @property
    def network(self) -> nn.Module:
        """Content encoder and ID embeddings."""
        return self._network

    @property
    def history_rule(self) -> HistoryRule:
        """``u = |H|^-alpha Σ h_i`` over the latest items."""
        return HistoryRule(self._config.alpha, self._config.max_history)

    def batches(self, rng: np.random.Generator) -> Iterator[Batch]:
        """The batches of one epoch."""
        return self._sampler.epoch(rng)

    def loss(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Ranking risk, environment risks, their variance, and the bottleneck's KL; see ``Model.loss``."""
        config = self._config
        rows = torch.from_numpy(batch.candidates).to(self._device)
        present = self._present[rows]
        experts = self._content.experts([x[rows] for x in self._features], present, self._drop)

        def fuse(mask: Tensor) -> Posterior:
            return product_of_experts(*experts, mask, self._content.prior_mean)

        posterior = fuse(simulate_missing(present, config.missing_rate, self._generator))
        code = posterior.sample(self._generator)
        with_id = torch.rand(len(rows), 1, generator=self._generator, device=self._device) >= config.id_dropout
        history = self._content.history_side(code) + with_id * embedding(rows, self._network.history_id)
        items = self._content.item_side(code) + with_id * embedding(rows, self._network.item_id)
        users = self._encode_users(batch, history)

        judge = _Judge(batch, users)
        # An environment without a target has no risk; its 0 would pass for the best one.
        risks = [
            judge.risk(self._content.item_side(fuse(mask).mean), mask.any(dim=1))
            for mask in single_modality(present)
            if judge.judges(mask.any(dim=1))
        ]
        environments = torch.stack(risks) if risks else code.new_zeros(1)
        ramp = min(1.0, progress / config.warmup) if config.warmup else 1.0
        return {
            "ranking": judge.risk(items),
            "environments": config.environment_weight * environments.mean(),
            "invariance": ramp * config.invariance_weight * risk_variance(environments),
            "bottleneck": ramp
            * config.kl_weight
            * bottleneck_kl(posterior, self._content.prior_mean, config.free_bits),
        }

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Content plus ID embedding for warm items, the encoder's rows for new ones; users from training histories."""
        items, histories = self._encode_all(features or self._data.features, warm=True)
        new = ~self._warm.cpu().numpy()
        items[new] = self._encode_all(features or self._data.features, warm=False)[0][new]
        users = fold_in(self._data.indptr, self._data.indices, histories, self.history_rule)
        return Embeddings(users, items, histories)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by the history rule, exactly as the model was trained."""
        histories = self._encode_all(self._data.features, warm=True)[1]
        return fold_in(indptr, indices, histories, self.history_rule)

    def as_new(self) -> NDArray[np.float32]:
        """Every item as the encoder alone places it, (n_items, d)."""
        return self._encode_all(self._data.features, warm=False)[0]

    def calibrate(self, gain: float) -> None:
        """Sets the factor by which new items are pushed."""
        with torch.no_grad():
            self._content.new_item_gain.fill_(gain)

    def encoder(self) -> nn.Module:
        """The content encoder."""
        return self._content

    @torch.no_grad()
    def _encode_all(
        self, features: Mapping[str, ModalityFeatures], *, warm: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Item and history rows of all items: as warm ones (content plus ID, no gain) or as new ones."""
        blocks = []
        for rows in torch.arange(self._data.n_items).split(_BLOCK):
            inputs = [torch.from_numpy(f.matrix[rows.numpy()]).to(self._device) for f in features.values()]
            present = np.stack([f.present[rows.numpy()] for f in features.values()], axis=1)
            item, history, _ = self._content(*inputs, torch.from_numpy(present).to(self._device))
            if warm:
                rows = rows.to(self._device)  # noqa: PLW2901
                known = self._warm[rows, None]
                item = item / self._content.new_item_gain + known * embedding(rows, self._network.item_id)
                history = history + known * embedding(rows, self._network.history_id)
            blocks.append((item.cpu().numpy(), history.cpu().numpy()))
        items, histories = (np.concatenate(side) for side in zip(*blocks, strict=True))
        return items, histories

    def _drop(self, x: Tensor) -> Tensor:
        """Inverted dropout from the model's own generator."""
        rate = self._config.dropout
        kept = torch.rand(x.shape, generator=self._generator, device=x.device) >= rate
        return x * kept / (1 - rate) if rate else x

    def _encode_users(self, batch: Batch, history: Tensor) -> Tensor:
        owner = torch.from_numpy(batch.history_users).to(self._device)
        items = torch.from_numpy(batch.history_items).to(self._device)
        sums = history.new_zeros(batch.n_users, history.shape[1]).index_add(0, owner, history[items])
        counts = torch.bincount(owner, minlength=batch.n_users).clamp(min=1)
        return sums * counts[:, None] ** -self._config.alpha


class _Judge:
    """The softmax risk of one batch for different item tables."""

    def __init__(self, batch: Batch, users: Tensor) -> None:
        def pair(*ij: NDArray[np.int64]) -> tuple[Tensor, ...]:
            return tuple(torch.from_numpy(x).to(users.device) for x in ij)

        shape = (batch.n_users, len(batch.candidates))
        sampled = torch.from_numpy(batch.sampled).to(users.device)
        self._users = users
        self._targets = torch.zeros(shape, dtype=torch.bool, device=users.device)
        self._targets[pair(batch.target_users, batch.target_items)] = True
        self._allowed = sampled.expand(shape).clone()
        self._allowed[pair(batch.history_users, batch.history_items)] = False
        self._allowed |= self._targets
        correction = sampling_correction(batch.n_population, int(batch.sampled.sum()))
        self._correction = correction * (sampled & ~self._targets) if correction else None

    def judges(self, judged: Tensor) -> bool:
        """Whether any target is among ``judged`` (c,) bool."""
        return bool((self._targets.any(dim=0) & judged).any())

    def risk(self, items: Tensor, judged: Tensor | None = None) -> Tensor:
        """The risk with item rows (c, d); ``judged`` (c,) bool limits the targets, not the competitors."""
        scores = self._users @ items.T
        if self._correction is not None:
            scores = scores + self._correction
        targets = self._targets if judged is None else self._targets & judged
        return softmax_risk(scores, targets, self._allowed)


def _standardisation(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each column of (n, d_m); a column that never varies is left at its scale."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32)
    center, scale = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    return center.astype(np.float32), np.where(scale > _CONSTANT, scale, 1).astype(np.float32)
