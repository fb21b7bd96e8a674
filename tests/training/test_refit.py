"""The model that is published knows what the one that was judged did not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store import Bundle, ModelStore
from training import refit as refit_module
from training.commands import main
from training.config import TrainConfig
from training.dataset import Dataset, read_dataset
from training.fitting import Trained, fit
from training.interactions import TEST, TRAIN, VAL
from training.models import PRESETS
from training.prepared import Prepared, prepare_data
from training.refit import holds_back, refit
from training.splits import DROPPED
from training.writing import write_dataset

NEW = [0, 1]  # items with test interactions only
SMALL = {"d": 8, "hidden": 16, "epochs": 6, "evaluate_every": 2, "patience": 4, "device": "cpu"}
FLAGS = [text for name, value in SMALL.items() for text in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def board(make_board: Callable[..., Dataset]) -> Dataset:
    """With items that nobody had to do with before the test part."""
    return make_board(30, 24, new=NEW, missing=0.3, validation=True)


def trained(prepared: Prepared, **options: Any) -> Trained:
    """A model without what is held back."""
    config = TrainConfig(**(SMALL | options))
    model, outcome = fit(prepared, config, lambda _: None)
    return Trained(model, config, outcome, prepared.data)


def everything(board: Dataset) -> Dataset:
    """The same data where all is for training."""
    interactions = board.interactions
    return replace(board, interactions=replace(interactions, split=np.full(len(interactions), TRAIN, np.int8)))


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_the_model_that_training_on_everything_gives(board: Dataset, preset: str) -> None:
    """Of the same configuration, after as many epochs, with the same schedule; bit by bit but for the calibration."""
    prepared = prepare_data(board, 0)
    before = trained(prepared, preset=preset)

    after = refit(prepared, before, lambda _: None)

    assert after
    outright, _ = fit(prepare_data(everything(board), 0), replace(before.config), lambda _: None)
    if before.outcome.best_epoch == before.config.epochs:  # otherwise it was trained for longer
        ours, theirs = after.model.embeddings().items, outright.embeddings().items
        known = after.data.popularity() > 0
        np.testing.assert_array_equal(ours[known], theirs[known])
    assert after.data.popularity()[NEW].min() > 0
    assert before.data.popularity()[NEW].max() == 0
    assert after.outcome.best_epoch == before.outcome.best_epoch
    assert np.isfinite(after.model.embeddings().users).all()


def test_the_rehearsal_holds(board: Dataset) -> None:
    """How far new items are pushed was found where their clicks were known to judge by, and so was confidence."""
    prepared = prepare_data(board, 0)
    before = trained(prepared)
    pushed = before._replace(outcome=replace(before.outcome, new_item_gain=2.5))

    plain, further = refit(prepared, before, lambda _: None), refit(prepared, pushed, lambda _: None)

    assert plain
    assert further
    assert (plain.outcome.confidence, further.outcome.new_item_gain) == (before.outcome.confidence, 2.5)
    np.testing.assert_allclose(
        further.model.as_new() * before.outcome.new_item_gain, plain.model.as_new() * 2.5, rtol=1e-4, atol=1e-6
    )


def test_other_presets_follow_their_new_tables(board: Dataset) -> None:
    """Their push is a ratio of norms, which are others now."""
    prepared = prepare_data(board, 0)
    before = trained(prepared, preset="dgmrec")

    after = refit(prepared, before, lambda _: None)

    assert after
    assert after.outcome.new_item_gain != before.outcome.new_item_gain


def test_the_epochs_that_were_best_are_trained(board: Dataset) -> None:
    """No more and no fewer, whatever was planned."""
    prepared = prepare_data(board, 0)
    before = trained(prepared)
    fewer = before._replace(outcome=replace(before.outcome, best_epoch=3))
    epochs: list[int] = []

    refit(prepared, fewer, lambda progress: epochs.append(progress.epoch))

    assert epochs == [1, 2, 3]


@pytest.mark.parametrize("place", ["building", "training"])
def test_ctrl_c_ends_it(board: Dataset, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Wherever it comes; there is the model before."""
    prepared = prepare_data(board, 0)
    before = trained(prepared)

    def stop(*_: object) -> Any:
        raise KeyboardInterrupt

    if place == "building":
        monkeypatch.setitem(refit_module.PRESETS, "i3mrec", stop)

    assert refit(prepared, before, stop) is None


def test_only_what_judges_is_held_back(board: Dataset) -> None:
    """Not what a protocol has taken out of the data."""
    prepared = prepare_data(board, 0)
    codes = np.where(np.isin(prepared.codes, (VAL, TEST)), DROPPED, prepared.codes).astype(np.int8)

    assert holds_back(prepared)
    assert not holds_back(replace(prepared, codes=codes))


# By the command


@pytest.fixture
def shop(board: Dataset, tmp_path: Path) -> Path:
    """A dataset directory that prescribes no split."""
    write_dataset(tmp_path / "shop", replace(board, interactions=replace(board.interactions, split=None)))
    return tmp_path / "shop"


def publish(directory: Path, store: Path, *arguments: str) -> Bundle:
    """What the command publishes."""
    assert main(["train", "--data", str(directory), "--store", str(store), "--promote", *FLAGS, *arguments]) == 0
    return ModelStore(store).load()


def test_items_with_late_clicks_alone_are_known(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is published of a shop knows every click; the metrics are those of the model that was judged."""
    told = publish(shop, tmp_path / "all")
    said = capsys.readouterr().out
    judged = publish(shop, tmp_path / "train", "--history", "train")

    prepared = prepare_data(read_dataset(shop), 0)
    late = np.flatnonzero((prepared.data.popularity() == 0) & (told.popularity > 0))
    assert "once more, with the interactions that judged it" in said
    assert "once more" not in capsys.readouterr().out
    assert told.manifest.metrics == judged.manifest.metrics
    assert not np.array_equal(told.item_embeddings, judged.item_embeddings)
    assert (judged.popularity[late] == 0).all()


def test_held_out_items_stay_new(shop: Path, tmp_path: Path) -> None:
    """Whoever asks for the protocol of new items gets a model to which they are new."""
    bundle = publish(shop, tmp_path / "store", "--new-items")

    prepared = prepare_data(read_dataset(shop), 0, new_items=True)
    model, _ = fit(prepared, TrainConfig(**SMALL), lambda _: None)
    np.testing.assert_allclose(bundle.item_embeddings, model.embeddings().items, rtol=1e-5, atol=1e-6)


def test_an_interrupted_one_leaves_the_model_before(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is published, with users made of all that they did."""
    monkeypatch.setattr("training.train.refit", lambda *_: None)
    bundle = publish(shop, tmp_path / "store")

    prepared = prepare_data(read_dataset(shop), 0)
    model, _ = fit(prepared, TrainConfig(**SMALL), lambda _: None)
    assert "interrupted: the model before is published" in capsys.readouterr().out
    np.testing.assert_allclose(bundle.item_embeddings, model.embeddings().items, rtol=1e-5, atol=1e-6)
    assert len(bundle.seen_indices) == len(prepared.dataset.interactions)
