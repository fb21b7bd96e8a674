"""The training loop: one pass an epoch, validation selection, early stopping, and a graceful Ctrl-C."""

import copy
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from training.config import TrainConfig
from training.errors import Diverged
from training.evaluation import validation_recall
from training.models.contract import Model
from training.splits import Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known after an epoch.

    Attributes:
        epoch: epochs done, from 1.
        epochs: epochs planned at most.
        losses: mean of each term of the loss over the epoch; their sum is what was minimised.
        recall: validation recall@20 of the last validation, None before the first one.
        best_recall: the best so far.
        best_epoch: the epoch it was seen in.
        seconds: since training began.
    """

    epoch: int
    epochs: int
    losses: dict[str, float]
    recall: float | None
    best_recall: float
    best_epoch: int
    seconds: float

    @property
    def loss(self) -> float:
        """The mean total loss."""
        return sum(self.losses.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training run ended.

    Attributes:
        best_epoch: the epoch the model is now in, 0 where none was validated.
        best_recall: its validation recall@20.
        ended: "epochs", "patience" or "interrupted".
        seconds: of training, validations included.
        history: one entry per epoch.
    """

    best_epoch: int
    best_recall: float
    ended: str
    seconds: float
    history: list[Progress] = field(default_factory=list)


def train(model: Model, split: Split, config: TrainConfig, report: Callable[[Progress], None]) -> Outcome:
    """Trains until the planned epochs are over, patience runs out or Ctrl-C is pressed; the model is then at its best.

    Args:
        model: is changed in place.
        split: train positives are masked, validation positives select; where there are none, the last epoch is kept.
        config: schedule and optimiser settings.
        report: called after each epoch.

    Raises:
        Diverged: the loss is no longer finite.
    """
    run = _Run(model, split, config)
    ended = "epochs"
    try:
        for epoch in range(1, config.epochs + 1):
            report(run.epoch(epoch))
            if epoch - run.best_epoch >= config.patience and run.best_epoch:
                ended = "patience"
                break
    except KeyboardInterrupt:
        ended = "interrupted"
        logger.warning("training_interrupted", extra={"best_epoch": run.best_epoch})
    run.restore_best()
    return Outcome(run.best_epoch, run.best_recall, ended, run.seconds(), run.history)


class _Run:
    """The mutable state of one training run."""

    def __init__(self, model: Model, split: Split, config: TrainConfig) -> None:
        self._model, self._split, self._config = model, split, config
        learned = [p for p in model.network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(learned, lr=config.lr)
        self._rng = np.random.default_rng(config.seed)
        self._started = time.monotonic()
        self._best_state = copy.deepcopy(model.network.state_dict())
        self._blind = not split.val.nnz  # with nothing to select by, the latest state counts as the best
        self._recall: float | None = None
        self.best_recall, self.best_epoch = -1.0, 0
        self.history: list[Progress] = []

    def epoch(self, epoch: int) -> Progress:
        """Trains one epoch and validates where it is due."""
        losses = self._learn(epoch)
        if epoch % self._config.evaluate_every == 0 or epoch == self._config.epochs:
            self._validate(epoch)
        progress = Progress(
            epoch, self._config.epochs, losses, self._recall, max(self.best_recall, 0), self.best_epoch, self.seconds()
        )
        self.history.append(progress)
        return progress

    def seconds(self) -> float:
        """Since training began."""
        return time.monotonic() - self._started

    def restore_best(self) -> None:
        """Puts the model back to its best validated state (its initial one where none was validated)."""
        self._model.network.load_state_dict(self._best_state)
        self._model.network.eval()

    def _learn(self, epoch: int) -> dict[str, float]:
        self._model.network.train()
        sums: defaultdict[str, float] = defaultdict(float)
        steps = 0
        for batch in self._model.batches(self._rng):
            terms = self._model.loss(batch, (epoch - 1) / self._config.epochs)
            total = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(total):
                raise Diverged(epoch, {name: float(term.detach()) for name, term in terms.items()})
            self._optimizer.zero_grad(set_to_none=True)
            total.backward()
            self._optimizer.step()
            steps += 1
            for name, term in terms.items():
                sums[name] += float(term.detach())
        return {name: value / steps for name, value in sums.items()}

    def _validate(self, epoch: int) -> None:
        self._model.network.eval()
        self._recall = validation_recall(self._model.embeddings(), self._split)
        if self._recall > self.best_recall or self._blind:
            state = copy.deepcopy(self._model.network.state_dict())  # first, as Ctrl-C may come in between
            self._best_state, self.best_recall, self.best_epoch = state, self._recall, epoch
