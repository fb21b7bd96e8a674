"""Training a preset from data to a calibrated model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from training.calibration import new_item_gain
from training.checkpoint import Checkpoint, identity_of
from training.config import TrainConfig
from training.errors import ConfigError, Untrained
from training.loop import Outcome, Progress, train
from training.models import PRESETS, REHEARSED, Model
from training.models.contract import CalibratesConfidence, TrainingData
from training.prepared import Prepared
from training.rehearsal import Rehearsed, rehearse


class Trained(NamedTuple):
    """A model, and how it came about.

    Attributes:
        model: calibrated.
        config: in which nothing is left open.
        outcome: of its training.
        data: what it learned from.
    """

    model: Model
    config: TrainConfig
    outcome: Outcome
    data: TrainingData


def fit(
    prepared: Prepared, config: TrainConfig, report: Callable[[Progress], None], checkpoint: Path | None = None
) -> tuple[Model, Outcome]:
    """Trains a preset to its best validated state and calibrates it.

    Args:
        prepared: what it learns from and is selected by.
        config: names the preset; its schedule and settings.
        report: called after each epoch.
        checkpoint: the file to save the run in and to go on from.

    Raises:
        Untrained: interrupted before the first validation.
        UnusableCheckpoint: the checkpoint is damaged or of another run.
        TrainingError: nothing to learn from, a device that is not there, or a loss that is no longer finite.
    """
    device = device_of(config)
    model = PRESETS[config.preset](prepared.data, config, device)
    kept = Checkpoint(checkpoint, identity_of(model, config, prepared.data, prepared.split)) if checkpoint else None
    outcome = train(model, prepared.split, config, report, checkpoint=kept)
    if not outcome.best_epoch:
        raise Untrained("interrupted before the first validation: there is no model yet, and nothing was published")
    found = None
    if config.preset in REHEARSED and prepared.split.val.nnz and outcome.ended != "interrupted":
        found = _rehearse(prepared, config, device, outcome.best_epoch)
        outcome = outcome if found else replace(outcome, ended="interrupted")
    found = found or Rehearsed(None, None)
    return model, replace(outcome, new_item_gain=calibrate(model, prepared.data, found), confidence=found.confidence)


def calibrate(model: Model, data: TrainingData, found: Rehearsed) -> float:
    """Places new items as a rehearsal found; where it found no push, by the model's own norms. Returns the push."""
    gain = found.gain
    if gain is None:
        gain = new_item_gain(model.embeddings().items, model.as_new(), data.popularity() > 0)
    model.calibrate(gain)
    if found.confidence and isinstance(model, CalibratesConfidence):
        model.calibrate_confidence(found.confidence)
    return gain


def _rehearse(prepared: Prepared, config: TrainConfig, device: torch.device, epochs: int) -> Rehearsed | None:
    """How new items are to be placed, after a rehearsal of so many epochs; None where Ctrl-C ended it."""
    config = replace(config, epochs=epochs, evaluate_every=epochs)
    ends = []

    def play(stage: Prepared) -> Model:
        model = PRESETS[config.preset](stage.data, config, device)
        ends.append(train(model, stage.split, config, lambda _: None).ended)
        return model

    try:
        found = rehearse(prepared, config.seed, play, config.new_item_budget)
    except KeyboardInterrupt:
        return None
    return None if "interrupted" in ends else found


def device_of(config: TrainConfig) -> torch.device:
    """The device that is asked for.

    Raises:
        ConfigError: there is none.
    """
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", "cpu or auto, as torch finds no CUDA device", config.device)
    return torch.device(config.device)
