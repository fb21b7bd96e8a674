"""I³-MRec: invariant learning over modality environments and an information-bottleneck fusion, for items as they come.

After arXiv 2508.04247, with its two ideas on a backbone that has a place for new items and new users:

- users and items are factors of implicit least squares. An item's factor fuses its clicks with a Gaussian prior whose
  mean is what its content predicts: clicks are one expert more in a product of experts, and with none of them only
  content speaks (``training.models.i3mrec_factors``);
- the content encoder places new items among these factors from whatever modalities they have
  (``training.models.i3mrec_encoder``). Its experts learn from the factors as a teacher, with modalities hidden at
  random; a KL term may compress what they say (the paper's bottleneck, in place of its CLUB bound);
- the modalities alone, and cyclic mixtures of them, are environments: the risks in them are kept low and, with a weight
  above 0, alike (the paper's penalty on their variance, or IRMv1);
- a user is the regression that scores the items of the history 1 and all others 0. There is no user table, hence no
  user too new.

The factors come in closed form before the first epoch; an epoch is one pass over the items for the experts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store import LeastSquaresRule
from training.confidence import Confidence
from training.config import TrainConfig
from training.content import content_of, set_gain
from training.environments import cyclic_mixup, simulate_missing, single_modality
from training.errors import NothingToLearn
from training.features import ModalityFeatures
from training.foldin import fold_in
from training.losses import bottleneck_kl, gradient_penalty, risk_variance
from training.models.contract import Embeddings, TrainingData
from training.models.i3mrec_encoder import ContentEncoder, Experts, LinearSolver
from training.models.i3mrec_factors import ADVICE, Factorisation, Factors
from training.models.settings import chosen_settings
from training.solvable import solved

_BLOCK = 16384
_RELIABLE = 5.0  # clicks at which half of an item's factor counts as known
_LEAST_STEPS = 8  # about so many steps at least make an epoch, also where there are few items


@dataclass(frozen=True, slots=True)
class _NoSettings:
    """All that shapes this preset are fields of ``TrainConfig``."""


class _Network(nn.Module):
    """The content encoder, and the item factors, which are solved for."""

    def __init__(self, content: ContentEncoder, items: Factors) -> None:
        super().__init__()
        self.content = content
        self.items = nn.Parameter(torch.from_numpy(items), requires_grad=False)


class I3MRec:
    """The default preset. See the module's docstring."""

    settings_kind: ClassVar[type] = _NoSettings

    def __init__(self, data: TrainingData, config: TrainConfig, device: torch.device) -> None:
        if not len(data.indices):
            raise NothingToLearn("expected at least one training interaction, found none")
        chosen_settings(_NoSettings, config.settings)
        self._data, self._config, self._device = data, config, device
        self._factors = Factorisation(data, config)
        self._warm = self._factors.popularity > 0
        self._generator = torch.Generator(device).manual_seed(config.seed)
        self._draws = np.random.default_rng(config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._content = ContentEncoder(
                data.features, self._warm, config.d, config.hidden, config.new_item_evenness
            ).to(device)
        self._rows, self._present = self._rows_of(data.features)
        predict = partial(self._predict_linear, self._make_solver())
        items = self._factors.solve(predict, self._draws)
        predict(items)
        norm = max(float(np.linalg.norm(items[self._warm], axis=1).mean()), 1e-12)
        with torch.no_grad():
            self._content.norm.fill_(norm)
            self._content.confidence_scale.fill_(norm)
        self._network = _Network(self._content, items).to(device)

    @property
    def network(self) -> nn.Module:
        """Content encoder and item factors."""
        return self._network

    @property
    def history_rule(self) -> LeastSquaresRule:
        """The users' half-step of the factorisation."""
        return self._factors.rule(self._items())

    def batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Rows of the items with interactions, shuffled: an epoch's batches."""
        rows = rng.permutation(np.flatnonzero(self._warm))
        size = min(self._config.batch_items, -(-len(rows) // _LEAST_STEPS))
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def loss(self, batch: NDArray[np.int64], progress: float) -> dict[str, Tensor]:
        """Squared error of the predicted factors, in units of their spread; see ``Model.loss``."""
        config, content = self._config, self._content
        index = torch.from_numpy(batch).to(self._device)
        present = self._present[index]
        target = self._network.items[index] / content.spread
        experts = content.experts([x[index] for x in self._rows], self._drop)
        posterior = content.fuse(experts, simulate_missing(present, config.missing_rate, self._generator))
        risk, invariance = self._environments(experts, present, target)
        ramp = min(1.0, progress / config.warmup) if config.warmup else 1.0
        kl = bottleneck_kl(posterior, content.prior_mean, config.free_bits) / config.d
        return {
            "risk": (posterior.mean - target).square().mean(),
            "environments": config.environment_weight * risk,
            "invariance": ramp * config.invariance_weight * invariance,
            "bottleneck": ramp * config.kl_weight * kl,
        }

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Factors of warm items, the encoder's rows for new ones; users from training histories.

        Other features change the prior, hence the items; users stay as the items of training make them.
        """
        known, items = self._items(), self._items()
        users = self._users(self._data.indptr, self._data.indices, known)
        rows, present = (self._rows, self._present) if features is None else self._rows_of(features)
        if features is not None:
            items = items + self._moved_by(rows, present)
        codes = self._encode(rows, present)
        history = np.where(self._warm[:, None], items, codes)
        return Embeddings(users, np.where(self._warm[:, None], items, self._place(codes)), history)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by the history rule, exactly as the model was trained."""
        history = np.where(self._warm[:, None], self._items(), self._encode(self._rows, self._present))
        return self._users(indptr, indices, history)

    def as_new(self) -> NDArray[np.float32]:
        """Every item as the encoder alone places it, (n_items, d)."""
        return self._place(self._encode(self._rows, self._present))

    def calibrate(self, gain: float) -> None:
        """Sets the factor by which new items are pushed."""
        set_gain(self._content.new_item_gain, gain)

    def deviations(self, features: Mapping[str, ModalityFeatures]) -> Factors:
        """See ``training.models.contract.CalibratesConfidence``."""
        unknown: Factors = self._content.unknown().detach().cpu().numpy()
        return self._encode(*self._rows_of(features)) - unknown

    def calibrate_confidence(self, confidence: Confidence) -> None:
        """Sets how confidence follows from the distance to an unknown item's code."""
        with torch.no_grad():
            self._content.confidence_scale.fill_(confidence.scale)
            self._content.confidence_ceiling.fill_(confidence.ceiling)

    def encoder(self) -> nn.Module:
        """The content encoder."""
        return self._content

    def hidden_state(self) -> dict[str, Any]:
        """What draws noise and mixtures."""
        return {"generator": self._generator.get_state(), "draws": self._draws.bit_generator.state}

    def load_hidden_state(self, state: Mapping[str, Any]) -> None:
        """Puts it back."""
        self._generator.set_state(state["generator"])
        self._draws.bit_generator.state = state["draws"]

    def _environments(self, experts: Experts, present: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mean risk over the environments that have items at all, and the penalty on their differences."""
        views = [(content_mean, mask.any(dim=1)) for content_mean, mask in self._views(experts, present)]
        errors = [(mean - target)[seen] for mean, seen in views if bool(seen.any())]
        if not errors:
            return target.new_zeros(()), target.new_zeros(())
        risks = torch.stack([error.square().mean() for error in errors])
        if self._config.penalty == "variance":
            return risks.mean(), risk_variance(risks)
        means = [mean[seen] for mean, seen in views if bool(seen.any())]
        return risks.mean(), gradient_penalty(means, errors)

    def _views(self, experts: Experts, present: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Means of the environments, each with its mask."""
        for mask in single_modality(present):
            yield self._content.fuse(experts, mask).mean, mask
        if self._config.mixup:
            n = present.shape[1]
            for shares in n * cyclic_mixup(n, self._config.mixup, self._draws)[1:].to(self._device):
                yield self._content.fuse(experts, present, shares).mean, present

    def _users(self, indptr: NDArray[np.int64], indices: NDArray[np.int32], history: Factors) -> Factors:
        return solved(lambda: fold_in(indptr, indices, history, self.history_rule), "user factors", ADVICE)

    def _moved_by(self, rows: list[Tensor], present: Tensor) -> Factors:
        """What another prior adds to the item factors, (n_items, d): zero where content is as it was in training."""
        users = self._factors.users(self._items())
        seen, given = (
            self._numpy(self._content.predict_linear, *x) for x in ((self._rows, self._present), (rows, present))
        )
        return self._factors.items(users, given) - self._factors.items(users, seen)

    def _make_solver(self) -> LinearSolver:
        weights = self._factors.popularity / (self._factors.popularity + _RELIABLE)
        return LinearSolver(self._rows, self._present, weights, self._config.content_ridge)

    def _predict_linear(self, solver: LinearSolver, items: Factors) -> Factors:
        """Solves the linear part for item factors; what it then says of all items."""
        spread = max(float(items[self._warm].std()), 1e-12)
        with torch.no_grad():
            self._content.spread.fill_(spread)
            self._content.linear.copy_(torch.from_numpy(solver.solve(items / spread)))
        return self._numpy(self._content.predict_linear, self._rows, self._present)

    def _items(self) -> Factors:
        return self._network.items.detach().cpu().numpy()

    @torch.no_grad()
    def _rows_of(self, features: Mapping[str, ModalityFeatures]) -> tuple[list[Tensor], Tensor]:
        content = content_of(features, self._device)
        return self._content.rows(content.features, content.present), content.present

    def _encode(self, rows: list[Tensor], present: Tensor) -> Factors:
        """What the encoder says of all items, gain 1, (n_items, d)."""
        return self._numpy(self._content.encode, rows, present)

    @torch.no_grad()
    def _place(self, codes: Factors) -> Factors:
        """Rows of new items with these codes, (n, d)."""
        return np.asarray(self._content.place(torch.from_numpy(codes).to(self._device)).cpu().numpy())

    @torch.no_grad()
    def _numpy(self, function: Any, rows: list[Tensor], present: Tensor) -> Factors:
        blocks = torch.arange(len(present), device=self._device).split(_BLOCK)
        results = [function([x[index] for x in rows], present[index]) for index in blocks]
        return np.asarray(torch.cat(results).cpu().numpy(), dtype=np.float32)

    def _drop(self, x: Tensor) -> Tensor:
        """Inverted dropout from the model's own generator."""
        rate = self._config.dropout
        kept = torch.rand(x.shape, generator=self._generator, device=x.device) >= rate
        return x * kept / (1 - rate) if rate else x
