"""The search for a configuration: what it starts from, what it returns, and how it ends."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from training import tuning
from training.config import TrainConfig
from training.dataset import Dataset
from training.errors import ConfigError, Diverged, NotFinite, Untrained
from training.loop import Outcome, Progress
from training.models import PRESETS, configure
from training.prepared import Prepared, prepare_data
from training.tuning import SPACES, Trial, tune

GIVEN = configure("milk", d=4, epochs=4, evaluate_every=2, device="cpu", settings={"variance": 500.0})


@pytest.fixture
def prepared(make_board: Callable[..., Dataset]) -> Prepared:
    """Two communities, a validation item for each user."""
    return prepare_data(make_board(20, 20, validation=True), 0)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """The configurations that were tried; a step size near 0.002 is best."""
    seen: list[TrainConfig] = []

    def train(_model: Any, _split: Any, config: TrainConfig, _report: Callable[[Progress], None]) -> Outcome:
        seen.append(config)
        return Outcome(4, 1 / (1 + abs(np.log(config.lr / 2e-3))), "epochs", 0.0)

    monkeypatch.setattr(tuning, "train", train)
    monkeypatch.setattr(tuning, "PRESETS", dict.fromkeys(PRESETS, lambda *_: None))
    return seen


def test_best_of_all_trials_is_returned(prepared: Prepared, tried: list[TrainConfig]) -> None:
    """The first is what was given, even outside of where is looked; others differ from it in the space only."""
    said: list[Trial] = []

    found = tune(prepared, GIVEN, 12, said.append)

    assert tried[0] == GIVEN
    assert len(tried) == len(said) == 12
    assert found == min(tried, key=lambda config: abs(np.log(config.lr / 2e-3)))
    assert [trial.number for trial in said] == list(range(1, 13))
    assert [trial.best for trial in said] == np.maximum.accumulate([trial.recall or 0 for trial in said]).tolist()
    assert {(config.d, config.epochs, config.preset) for config in tried} == {(4, 4, "milk")}
    space = SPACES["milk"]
    assert all(space["lr"].low <= config.lr <= space["lr"].high for config in tried[1:])
    assert all(set(config.settings) == {"variance", "alignment"} for config in tried[1:])


def test_same_seed_makes_the_same_search(prepared: Prepared, tried: list[TrainConfig]) -> None:
    """Another seed another one."""
    one, same, other = (tune(prepared, configure("mrdib", seed=seed), 5) for seed in (1, 1, 2))

    assert one == same
    assert tried[:5] == tried[5:10]
    assert tried[1].lr != tried[11].lr
    assert other.seed == 2


def test_known_items_are_judged_without_their_epochs(prepared: Prepared, tried: list[TrainConfig]) -> None:
    """Where they are solved for before the first; what is returned has all of them."""
    found = tune(prepared, configure(unobserved=50.0), 3)

    assert {config.epochs for config in tried} == {1}
    assert found.epochs == configure().epochs


def test_trials_that_fail_are_given_up(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no longer finite is no result; the best of the others is."""
    failures = [Diverged(1, {}), NotFinite("factors", "a larger ridge")]
    outcomes = iter([Outcome(1, 0.5, "epochs", 0.0), *failures, Outcome(1, 0.4, "epochs", 0.0)])

    def train(*_: Any) -> Outcome:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(tuning, "train", train)
    said: list[Trial] = []

    found = tune(prepared, configure("mrdib", d=4), 4, said.append)

    assert [trial.recall for trial in said] == [0.5, None, None, 0.4]
    assert found == configure("mrdib", d=4)


@pytest.mark.parametrize("finished", [0, 2])
def test_ctrl_c_ends_the_search(prepared: Prepared, monkeypatch: pytest.MonkeyPatch, finished: int) -> None:
    """With the best so far; before the first trial's end there is none."""
    ends = iter(["epochs"] * finished + ["interrupted"])
    monkeypatch.setattr(tuning, "train", lambda *_: Outcome(1, 0.5, next(ends), 0.0))
    said: list[Trial] = []

    if finished:
        assert tune(prepared, configure("mrdib", d=4), 9, said.append).preset == "mrdib"
    else:
        with pytest.raises(Untrained):
            tune(prepared, configure("mrdib", d=4), 9, said.append)

    assert len(said) == finished


def test_ctrl_c_before_the_first_trial_is_said(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left open is chosen first, which takes its time."""

    def interrupted(*_: Any) -> TrainConfig:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "selected", interrupted)

    with pytest.raises(Untrained, match="nothing was trained"):
        tune(prepared, configure(d=4), 3)


def test_any_seed_can_be_searched_with(prepared: Prepared, tried: list[TrainConfig]) -> None:
    """Optuna knows none beyond 32 bits."""
    tune(prepared, configure("mrdib", d=4, seed=2**40 + 1), 2)

    assert [config.seed for config in tried] == [2**40 + 1] * 2


def test_what_cannot_be_tuned_is_refused(prepared: Prepared, make_board: Callable[..., Dataset]) -> None:
    """No trial, or nothing to judge by."""
    with pytest.raises(ConfigError, match="tune: expected at least 1, found 0"):
        tune(prepared, GIVEN, 0)
    with pytest.raises(ConfigError, match="tune: expected data with validation interactions"):
        tune(prepare_data(make_board(12, 10), 0), GIVEN, 2)


@pytest.mark.parametrize("preset", SPACES)
def test_every_space_can_be_trained_in(prepared: Prepared, preset: str) -> None:
    """Two trials of each preset with its own model; its names are fields and settings that there are."""
    config = replace(configure(preset, d=4, epochs=2, evaluate_every=1, device="cpu"), hidden=4, sweeps=2)

    found = tune(prepared, config, 2)

    assert found.preset == preset
    PRESETS[preset](prepared.data, found, torch.device("cpu"))
