"""The training loop: one pass an epoch, validation selection, early stopping, checkpoints, and a graceful Ctrl-C."""

import copy
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from training.checkpoint import Checkpoint
from training.confidence import Confidence
from training.config import TrainConfig
from training.errors import Diverged
from training.evaluation import validation_recall
from training.models.contract import Model, Resumable
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
        seconds: since training began, without the time between being stopped and being resumed.
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
        new_item_gain: by how much new items are pushed, where the model was calibrated since.
        confidence: how its confidence was calibrated, where it was.
    """

    best_epoch: int
    best_recall: float
    ended: str
    seconds: float
    history: list[Progress] = field(default_factory=list)
    new_item_gain: float = 1.0
    confidence: Confidence | None = None


def train(
    model: Model,
    split: Split,
    config: TrainConfig,
    report: Callable[[Progress], None],
    *,
    checkpoint: Checkpoint | None = None,
    mixed_precision: bool = True,
    until: int | None = None,
) -> Outcome:
    """Trains until the planned epochs are over, patience runs out or Ctrl-C is pressed; the model is then at its best.

    With a checkpoint the run's state is saved after each validation, and a run that was saved goes on from there. On
    the same machine with the same libraries and threads, on the CPU, it is then bit by bit the run that was not
    stopped, apart from the seconds, for models whose chance is the loop's alone and for those that are ``Resumable``.
    Others go on with their network, optimiser and place in the loop's random numbers, but whatever else they keep
    begins anew, so that the losses differ a little. On CUDA devices sums are made in an order of their own anyway.

    Args:
        model: is changed in place.
        split: train positives are masked, validation positives select; where there are none, the last epoch is kept.
        config: schedule and optimiser settings.
        report: called after each epoch, and once with the last epoch that a resumed run has behind it.
        checkpoint: where to save and to go on from; it is left as it is at the end.
        mixed_precision: on a CUDA device losses are computed under autocast with bfloat16; parameters, gradients and
            the optimiser stay float32, and so does everything on the CPU. Not yet tried on a GPU: tests have none.
        until: the epoch that is to be the last one, whatever is planned.

    Raises:
        Diverged: the loss is no longer finite.
        UnusableCheckpoint: the checkpoint is damaged or of another run.
        OSError: the checkpoint cannot be read or written; one written before stays.
    """
    run = _Run(model, split, config, mixed_precision=mixed_precision, last=until or config.epochs)
    try:
        if checkpoint and _resumed(run, checkpoint):
            report(run.history[-1])
        while (ended := run.ended()) is None:
            progress = run.epoch()
            if checkpoint and run.validated:
                checkpoint.save(run.state())
            report(progress)
    except KeyboardInterrupt:
        ended = "interrupted"
        logger.warning("training_interrupted", extra={"best_epoch": run.best_epoch})
    run.restore_best()
    return Outcome(run.best_epoch, run.best_recall, ended, run.seconds(), run.history)


def _resumed(run: "_Run", checkpoint: Checkpoint) -> bool:
    """Whether there was a state to go on from."""
    state = checkpoint.load()
    if state is None:
        return False
    try:
        run.load_state(state)
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:  # written by another version of this code
        raise checkpoint.refusal(f"a state that does not fit ({exc})") from exc
    return True


class _Run:
    """The mutable state of one training run."""

    def __init__(self, model: Model, split: Split, config: TrainConfig, *, mixed_precision: bool, last: int) -> None:
        self._model, self._split, self._config, self._last = model, split, config, last
        learned = [p for p in model.network.parameters() if p.requires_grad]
        self._mixed = mixed_precision and any(p.is_cuda for p in learned)
        self._optimizer = torch.optim.Adam(learned, lr=config.lr)
        self._rng = np.random.default_rng(config.seed)
        self._started = time.monotonic()
        self._best_state = copy.deepcopy(model.network.state_dict())
        self._blind = not split.val.nnz  # with nothing to select by, the latest state counts as the best
        self._recall: float | None = None
        self.best_recall, self.best_epoch = -1.0, 0
        self.history: list[Progress] = []

    def ended(self) -> str | None:
        """Why there is no further epoch; None where there is one."""
        if self.best_epoch and len(self.history) - self.best_epoch >= self._config.patience:
            return "patience"
        return "epochs" if len(self.history) >= self._last else None

    @property
    def validated(self) -> bool:
        """Whether a validation was due in the last epoch."""
        return self._validates(len(self.history))

    def state(self) -> dict[str, Any]:
        """All that the next epochs follow from. Tensors are those in use: to be saved before training goes on."""
        model = self._model
        return {
            "network": model.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rng": self._rng.bit_generator.state,
            "hidden": model.hidden_state() if isinstance(model, Resumable) else {},
            "best": {"network": self._best_state, "recall": self.best_recall, "epoch": self.best_epoch},
            "recall": self._recall,
            "seconds": self.seconds(),
            "history": [asdict(progress) for progress in self.history],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes back to a state."""
        best = state["best"]
        history = [Progress(**progress) for progress in state["history"]]
        self._rng.bit_generator.state = state["rng"]
        self._model.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if isinstance(self._model, Resumable):
            self._model.load_hidden_state(state["hidden"])
        self._best_state, self.best_recall, self.best_epoch = best["network"], best["recall"], best["epoch"]
        self._recall, self.history = state["recall"], history
        self._started = time.monotonic() - state["seconds"]

    def epoch(self) -> Progress:
        """Trains the next epoch and validates where it is due."""
        epoch = len(self.history) + 1
        losses = self._learn(epoch)
        if self._validates(epoch):
            self._validate(epoch)
        progress = Progress(
            epoch, self._last, losses, self._recall, max(self.best_recall, 0), self.best_epoch, self.seconds()
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

    def _validates(self, epoch: int) -> bool:
        return epoch % self._config.evaluate_every == 0 or epoch == self._last

    def _learn(self, epoch: int) -> dict[str, float]:
        self._model.network.train()
        sums: defaultdict[str, float] = defaultdict(float)
        steps = 0
        for batch in self._model.batches(self._rng):
            with self._precision():
                terms = self._model.loss(batch, (epoch - 1) / self._config.epochs)
            total = torch.stack([term.float() for term in terms.values()]).sum()
            if not torch.isfinite(total):
                raise Diverged(epoch, {name: float(term.detach()) for name, term in terms.items()})
            self._optimizer.zero_grad(set_to_none=True)
            total.backward()
            self._optimizer.step()
            steps += 1
            for name, term in terms.items():
                sums[name] += float(term.detach())
        return {name: value / steps for name, value in sums.items()}

    def _precision(self) -> AbstractContextManager[Any]:
        # bfloat16 has the range of float32, so that losses need no scaling.
        return torch.autocast("cuda", dtype=torch.bfloat16) if self._mixed else nullcontext()

    def _validate(self, epoch: int) -> None:
        self._model.network.eval()
        if not self._blind:
            self._recall = validation_recall(self._model.embeddings(), self._split)
        recall = self._recall or 0.0
        if recall >= self.best_recall or self._blind:
            state = copy.deepcopy(self._model.network.state_dict())  # first, as Ctrl-C may come in between
            self._best_state, self.best_recall, self.best_epoch = state, recall, epoch
