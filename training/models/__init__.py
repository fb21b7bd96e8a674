"""The presets: one readable file per model, one line here."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol

import torch

from training.config import TrainConfig
from training.errors import ConfigError
from training.models.contract import Embeddings, Model, TrainingData
from training.models.dgmrec import DGMRec
from training.models.i3mrec import I3MRec
from training.models.i3mrec_factors import candidates
from training.models.i3mrec_paper import I3MRecPaper
from training.models.milk import Milk
from training.models.mrdib import MRdIB
from training.models.settings import chosen_settings


class Build(Protocol):
    """A preset: makes a model."""

    @property
    def settings_kind(self) -> type:
        """The dataclass of its own settings."""
        ...

    def __call__(self, data: TrainingData, config: TrainConfig, device: torch.device, /) -> Model:
        """The model, as it begins."""
        ...


PRESETS: Mapping[str, Build] = {
    "dgmrec": DGMRec,
    "i3mrec": I3MRec,
    "i3mrec-paper": I3MRecPaper,
    "milk": Milk,
    "mrdib": MRdIB,
}

REVISIONS: Mapping[str, int] = {}
"""Preset → its revision, where that is not 1: raise it when a model's numbers change, so that runs that were kept
before are run again, and not shown as its results."""

# Presets that train so fast that how far to push new items can be tried out (``training.rehearsal``).
REHEARSED = frozenset({"i3mrec"})

# Presets that leave some of their configuration open, and what there is to choose from (``training.selection``).
CANDIDATES: Mapping[str, Callable[[TrainConfig], list[TrainConfig]]] = {"i3mrec": candidates}

# The published models share a schedule: Adam, batches of 2,048 pairs, a look at the validation part every 10 epochs, an
# end after 3 looks without gain. What is a model's own (weights of its terms) are the ``Settings`` in its file.
_PUBLISHED: Mapping[str, Any] = {"lr": 1e-3, "d": 64, "batch_pairs": 2048, "evaluate_every": 10, "patience": 30}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dgmrec": {**_PUBLISHED, "epochs": 200},
    "i3mrec": {},
    "i3mrec-paper": {**_PUBLISHED, "epochs": 200},
    "milk": {**_PUBLISHED, "epochs": 1000},
    "mrdib": {**_PUBLISHED, "epochs": 200},
}
"""Preset → where its defaults differ from those of ``TrainConfig``."""

_EVERYWHERE = frozenset({"preset", "seed", "epochs", "patience", "evaluate_every", "lr", "d", "device", "settings"})
_BY_PAIRS = _EVERYWHERE | {"batch_pairs"}

HEEDED: Mapping[str, frozenset[str]] = {
    "dgmrec": _BY_PAIRS,
    "i3mrec": frozenset(option.name for option in fields(TrainConfig)) - {"batch_pairs"},
    "i3mrec-paper": _BY_PAIRS,
    "milk": _BY_PAIRS,
    "mrdib": _BY_PAIRS,
}
"""Preset → the fields of ``TrainConfig`` that make a difference to it."""


def configure(preset: str = "i3mrec", **given: Any) -> TrainConfig:
    """The configuration of a run: what is ``given``, else the preset's defaults, else those of ``TrainConfig``.

    Raises:
        ConfigError: a value cannot be meant, or is of a field that the preset does not heed.
        KeyError: there is no such preset.
    """
    for name, value in given.items():
        if name not in HEEDED[preset]:
            raise ConfigError(name, _nothing(name, preset), value)
    config = TrainConfig(**{**DEFAULTS[preset], **given, "preset": preset})
    chosen_settings(PRESETS[preset].settings_kind, config.settings)  # before anything is trained
    return config


def _nothing(name: str, preset: str) -> str:
    """What is expected in place of a field that a preset does not heed."""
    if name in {option.name for option in fields(PRESETS[preset].settings_kind)}:
        return f"--setting {name}=… in its place, as the preset {preset} has one of its own"
    heeding = [other for other, heeded in HEEDED.items() if name in heeded]
    return f"nothing, as the preset {preset} does not heed it (those that do: {', '.join(heeding)})"


__all__ = [
    "CANDIDATES",
    "DEFAULTS",
    "HEEDED",
    "PRESETS",
    "REHEARSED",
    "REVISIONS",
    "Build",
    "Embeddings",
    "Model",
    "TrainingData",
    "configure",
]
