"""Content as one matrix, whatever of it is present."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.features import ModalityFeatures
from training.models.contract import TrainingData

_TINY = 1e-12


def unit_blocks(features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
    """All modalities side by side, (n_items, Σ d_m) float32: rows of unit norm in each block, zero where absent."""
    return np.concatenate([unit_rows(f.matrix) * f.present[:, None] for f in features.values()], axis=1)


def presence(features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
    """Which modalities an item has, (n_items, n_modalities) float32 of 0 and 1."""
    return np.stack([f.present for f in features.values()], axis=1).astype(np.float32)


def unit_rows(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of (n, d) scaled to unit norm; zero rows stay."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit: NDArray[np.float32] = matrix / np.maximum(norms, _TINY)
    return unit


class MeanImputation:
    """Fills in what is absent with the mean of what training items have; a modality nobody has becomes zeros."""

    def __init__(self, data: TrainingData) -> None:
        warm = data.popularity() > 0
        self._means = {name: _mean(unit_rows(f.matrix)[f.present & warm], f.dim) for name, f in data.features.items()}

    def fill(self, features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
        """Unit rows of all modalities side by side, means where absent, (n_items, Σ d_m) float32."""
        blocks = [np.where(f.present[:, None], unit_rows(f.matrix), self._means[name]) for name, f in features.items()]
        return np.concatenate(blocks, axis=1)


def _mean(rows: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    return rows.mean(axis=0) if len(rows) else np.zeros(dim, np.float32)
