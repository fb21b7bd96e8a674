"""The presets: one readable file per model, one line here."""

from collections.abc import Callable, Mapping

import torch

from training.config import TrainConfig
from training.models.contract import Embeddings, Model, TrainingData
from training.models.i3mrec import I3MRec

Build = Callable[[TrainingData, TrainConfig, torch.device], Model]

PRESETS: Mapping[str, Build] = {
    "i3mrec": I3MRec,
}

__all__ = ["PRESETS", "Build", "Embeddings", "Model", "TrainingData"]
