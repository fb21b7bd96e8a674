"""What is left open in a configuration: by what it is chosen, and when the usual one stays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from training import evaluation, selection
from training.config import TrainConfig
from training.dataset import Dataset
from training.models import configure
from training.models.contract import Embeddings
from training.models.i3mrec_factors import candidates
from training.prepared import Prepared, prepare_data
from training.selection import selected

USUAL = 70.0


@pytest.fixture
def prepared(make_board: Callable[..., Dataset]) -> Prepared:
    """Two communities, a validation item for each user."""
    return prepare_data(make_board(40, 40, validation=True), 0)


def finding(share_found: dict[float, float], asked: list[TrainConfig], prepared: Prepared) -> Any:
    """A preset whose candidates put the validation item of so many users first, by their ``unobserved``."""

    class Finds:
        def __init__(self, _data: Any, config: TrainConfig, _device: torch.device) -> None:
            asked.append(config)
            self._share = share_found[config.unobserved]

        def embeddings(self) -> Embeddings:
            wanted = prepared.split.val.toarray().astype(np.float32)
            lucky = np.arange(len(wanted)) < self._share * len(wanted)
            users = np.where(lucky[:, None], wanted, -wanted)
            return Embeddings(users, np.eye(wanted.shape[1], dtype=np.float32), None)

    return Finds


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({35.0: 0.1, USUAL: 0.2, 140.0: 0.9, 280.0: 0.5}, 140.0),
        ({35.0: 0.9, USUAL: 0.3, 140.0: 0.2, 280.0: 0.1}, 35.0),
        ({35.0: 0.5, USUAL: 0.525, 140.0: 0.5, 280.0: 0.5}, USUAL),
        ({35.0: 0.1, USUAL: 0.5, 140.0: 0.55, 280.0: 0.1}, USUAL),  # 2 users of 40: within two standard errors
    ],
)
def test_best_is_chosen_if_it_is_better_beyond_chance(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, found: dict[float, float], chosen: float
) -> None:
    """All four are looked at; the one found is complete, its ridge included."""
    asked: list[TrainConfig] = []
    monkeypatch.setattr(selection, "PRESETS", {"i3mrec": finding(found, asked, prepared)})

    config = selected(prepared, configure(seed=3))

    assert sorted(each.unobserved for each in asked) == [35, 70, 140, 280]
    assert config == configure(seed=3, unobserved=chosen, ridge=2.45 / chosen)


def test_a_single_user_tells_nothing(monkeypatch: pytest.MonkeyPatch, make_board: Callable[..., Dataset]) -> None:
    """Whose gain may be chance: there is nothing to tell by."""
    prepared = prepare_data(make_board(40, 40, validation=True), 0)
    first = prepared.split.val.copy()
    first.data[first.indptr[1] :] = 0
    first.eliminate_zeros()
    alone = replace(prepared, split=replace(prepared.split, val=first))
    found = {35.0: 0.1, USUAL: 0.0, 140.0: 0.9, 280.0: 0.5}
    monkeypatch.setattr(selection, "PRESETS", {"i3mrec": finding(found, [], alone)})

    assert selected(alone, configure(seed=3)).unobserved == USUAL


def test_choice_looks_at_no_more_users_than_a_validation(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one user is all that is looked at, the gain of the others tells nothing."""
    found = {35.0: 0.1, USUAL: 0.2, 140.0: 0.9, 280.0: 0.5}
    monkeypatch.setattr(selection, "PRESETS", {"i3mrec": finding(found, [], prepared)})
    monkeypatch.setattr(evaluation, "MOST_VALIDATED", 1)

    assert selected(prepared, configure(seed=3)).unobserved == USUAL


def test_nothing_open_is_nothing_to_choose(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A given weight stays, with the ridge that goes with it or the one given; other presets leave nothing open."""
    monkeypatch.setattr(selection, "PRESETS", {})  # whatever is built would fail

    assert selected(prepared, configure(unobserved=2.45)) == configure(unobserved=2.45, ridge=1.0)
    assert selected(prepared, configure(unobserved=10.0, ridge=0.5)) == configure(unobserved=10.0, ridge=0.5)
    assert selected(prepared, configure("milk")) == configure("milk")


def test_given_ridge_is_kept_by_all_candidates() -> None:
    """Only the weight is open then."""
    assert {each.ridge for each in candidates(configure(ridge=0.1))} == {0.1}


def test_without_validation_the_usual_one_serves(make_board: Callable[..., Dataset]) -> None:
    """There is nothing to choose by."""
    config = selected(prepare_data(make_board(12, 10), 0), configure(d=4))

    assert config == configure(d=4, unobserved=USUAL, ridge=0.035)
