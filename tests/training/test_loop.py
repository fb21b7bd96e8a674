"""The training loop with a model whose quality after each epoch is written down beforehand."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from training.config import TrainConfig
from training.errors import Diverged
from training.loop import Outcome, Progress, train
from training.models import Embeddings, Model
from training.splits import Split

N_USERS, N_ITEMS = 4, 30


class Scripted:
    """Fits ``Model``: counts its epochs in a parameter, and recommends in epoch n as well as ``recalls[n - 1]`` says.

    Adam with a constant gradient of -1 and lr 1 adds 1 a step, and there is one step an epoch.
    """

    history_rule = None

    def __init__(self, *recalls: float, steps: int = 1) -> None:
        self.network = nn.Module()
        self.network.age = nn.Parameter(torch.zeros(()))
        self.network.fixed = nn.Parameter(torch.ones(()), requires_grad=False)
        self.recalls = recalls
        self.steps = steps
        self.progress: list[float] = []
        self.modes: list[tuple[str, bool]] = []
        self.poison: Mapping[int, float] = {}

    @property
    def age(self) -> int:
        """Epochs the parameter has seen."""
        return round(self.network.age.item() / self.steps)

    def batches(self, _: np.random.Generator) -> Iterator[int]:
        """Steps count from 0."""
        yield from range(self.steps)

    def loss(self, batch: int, progress: float) -> Mapping[str, Tensor]:
        """Falls by the parameter; the other term is 2 in the first step and 4 in the second."""
        self.progress.append(progress)
        self.modes.append(("loss", self.network.training))
        poison = self.poison.get(len(self.progress), 0.0)
        return {"ageing": -self.network.age, "other": torch.tensor(2.0 * (batch + 1) + poison)}

    def embeddings(self, features: object = None) -> Embeddings:
        """Users of score 1 have their item first, those of score -1 last of 30, beyond any list of 20."""
        assert features is None
        self.modes.append(("embeddings", self.network.training))
        hits = round(self.recalls[self.age - 1] * N_USERS)
        users = np.where(np.arange(N_USERS + 1) < hits, 1, -1).astype(np.float32)[:, None]
        return Embeddings(users, np.eye(N_ITEMS, dtype=np.float32)[:, -1:], None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Not asked for in training."""
        raise NotImplementedError

    def as_new(self) -> NDArray[np.float32]:
        """Not asked for in training."""
        raise NotImplementedError

    def calibrate(self, gain: float) -> None:
        """Not asked for in training."""
        raise NotImplementedError

    def encoder(self) -> nn.Module:
        """Not asked for in training."""
        raise NotImplementedError


def make_split(*, validated: bool = True) -> Split:
    """Each user validates on the last item; one more has trained on all, so that each item competes."""
    train, val = (np.zeros((N_USERS + 1, N_ITEMS), np.float32) for _ in range(2))
    train[-1] = 1
    val[:-1, -1] = validated
    return Split(csr_matrix(train), csr_matrix(val), csr_matrix(val.shape, dtype=np.float32))


def run(model: Model, *, validated: bool = True, interrupt: int | None = None, **options: Any) -> Outcome:
    """Trains with lr 1 and a validation each epoch; Ctrl-C comes in the report of epoch ``interrupt``."""
    schedule = {"evaluate_every": 1, "patience": 100, "lr": 1.0} | options

    def report(progress: Progress) -> None:
        if progress.epoch == interrupt:
            raise KeyboardInterrupt

    return train(model, make_split(validated=validated), TrainConfig(**schedule), report)


def recalls_of(outcome: Outcome) -> Sequence[float | None]:
    """The validation recalls of the epochs."""
    return [progress.recall for progress in outcome.history]


def test_model_ends_in_its_best_epoch() -> None:
    """Epoch 2 of 4 was the best, and that is the state the parameters are in."""
    model = Scripted(0.25, 0.75, 0.5, 0.5)

    outcome = run(model, epochs=4)

    assert (outcome.best_epoch, outcome.best_recall, outcome.ended) == (2, 0.75, "epochs")
    assert model.age == 2
    assert not model.network.training


def test_equally_good_later_epoch_replaces_the_earlier() -> None:
    """Of equals the latest is kept: what validation does not see, new items, has been learned longer."""
    outcome = run(model := Scripted(0.5, 0.75, 0.75, 0.5), epochs=4)

    assert (outcome.best_epoch, outcome.best_recall, model.age) == (3, 0.75, 3)


def test_equally_good_epochs_are_no_loss_of_patience() -> None:
    """Patience counts from the latest best: 2, which equals 1, and then two worse ones."""
    outcome = run(Scripted(0.5, 0.5, 0.25, 0.25, 1), epochs=5, patience=2)

    assert (outcome.ended, outcome.best_epoch, len(outcome.history)) == ("patience", 2, 4)


def test_model_that_never_hits_is_still_validated() -> None:
    """A recall of 0 is a recall: of two such epochs the later is the best, not the state before training."""
    outcome = run(model := Scripted(0, 0), epochs=2)

    assert (outcome.best_epoch, outcome.best_recall, model.age) == (2, 0, 2)


def test_patience_ends_a_run_that_gets_no_better() -> None:
    """After the best epoch 2 and three more without a better one, five of 50 are done."""
    model = Scripted(0.25, 0.5, *[0.25] * 48)

    outcome = run(model, epochs=50, patience=3)

    assert (outcome.ended, len(outcome.history), outcome.best_epoch, model.age) == ("patience", 5, 2, 2)


def test_patience_starts_anew_with_each_best() -> None:
    """Better just in time: epochs 1, 3 and 5, then two worse ones."""
    outcome = run(Scripted(0.25, 0, 0.5, 0, 0.75, 0, 0, 1), epochs=8, patience=2)

    assert (outcome.ended, outcome.best_epoch, len(outcome.history)) == ("patience", 5, 7)


def test_validations_come_when_due_and_at_the_end() -> None:
    """Every second epoch of five and the fifth; in between the last known recall stands."""
    outcome = run(Scripted(1, 0.25, 1, 0.5, 0.75), epochs=5, evaluate_every=2)

    assert recalls_of(outcome) == [None, 0.25, 0.25, 0.5, 0.75]
    assert [progress.best_epoch for progress in outcome.history] == [0, 2, 2, 4, 5]
    assert [progress.best_recall for progress in outcome.history] == [0, 0.25, 0.25, 0.5, 0.75]


def test_history_is_complete() -> None:
    """One entry per epoch with the mean of each term over its steps: (2 + 4) / 2 = 3, and ageing -0.5, then -2.5.

    Before the steps of epoch 1 the parameter is 0 and 1, before those of epoch 2 it is 2 and 3.
    """
    seen: list[Progress] = []

    outcome = train(
        Scripted(0.5, 0.25, steps=2),
        make_split(),
        TrainConfig(epochs=2, evaluate_every=1, lr=1.0),
        seen.append,
    )

    assert outcome.history == seen
    assert [(progress.epoch, progress.epochs) for progress in seen] == [(1, 2), (2, 2)]
    assert [progress.losses["other"] for progress in seen] == [3, 3]
    assert [progress.losses["ageing"] for progress in seen] == pytest.approx([-0.5, -2.5], abs=1e-5)
    assert [progress.loss for progress in seen] == pytest.approx([2.5, 0.5], abs=1e-5)
    assert 0 <= seen[0].seconds <= seen[1].seconds <= outcome.seconds


def test_model_learns_in_training_mode_and_is_judged_in_evaluation_mode() -> None:
    """Dropout and the like are on in steps and off in validations; the share of the epochs that is over is told."""
    model = Scripted(0.5, 0.5, 0.5, 0.5)

    run(model, epochs=4)

    assert model.modes == [("loss", True), ("embeddings", False)] * 4
    assert model.progress == [0, 0.25, 0.5, 0.75]


def test_what_is_not_learned_stays() -> None:
    """Parameters without gradient are no business of the optimiser."""
    run(model := Scripted(0.5), epochs=1)

    assert model.network.fixed.item() == 1


def test_interrupted_run_keeps_the_best_so_far(caplog: pytest.LogCaptureFixture) -> None:
    """Ctrl-C in epoch 3: the model is in epoch 1, which was better than 2 and 3, and the log says so."""
    model = Scripted(0.75, 0.25, 0.5, 1)

    outcome = run(model, epochs=4, interrupt=3)

    assert (outcome.ended, outcome.best_epoch, outcome.best_recall) == ("interrupted", 1, 0.75)
    assert (model.age, len(outcome.history)) == (1, 3)
    assert [record.getMessage() for record in caplog.records] == ["training_interrupted"]


def test_run_interrupted_before_a_validation_is_as_it_began() -> None:
    """No epoch was judged, so none is kept; the outcome says so by epoch 0."""
    outcome = run(model := Scripted(0.5, 0.5, 0.5), epochs=3, evaluate_every=3, interrupt=2)

    assert (outcome.ended, outcome.best_epoch, model.age) == ("interrupted", 0, 0)


def test_without_validation_interactions_the_last_epoch_is_kept() -> None:
    """Where nothing can select, recall is 0 throughout; that is no reason to go back to the first epoch or to stop."""
    model = Scripted(*[1] * 6)

    outcome = run(model, validated=False, epochs=6, evaluate_every=2, patience=3)

    assert (outcome.ended, outcome.best_epoch, outcome.best_recall, model.age) == ("epochs", 6, 0, 6)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_ends_the_run(poison: float) -> None:
    """The error names the epoch and each term at that step; no step is made with it."""
    model = Scripted(0.5, 0.5, 0.5)
    model.poison = {2: poison}

    with pytest.raises(Diverged, match=r"epoch 2: expected a finite loss, found .*'other': -?(nan|inf)") as caught:
        run(model, epochs=3)

    assert caught.value.epoch == 2
    assert caught.value.terms["ageing"] == pytest.approx(-1)
    assert not math.isfinite(caught.value.terms["other"])
    assert model.age == 1
