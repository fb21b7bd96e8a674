"""Content as one matrix, whatever of it is present."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.features import ModalityFeatures, varying
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
    """Standardises unit rows by what training items have, and fills in the mean, now 0, where a modality is absent."""

    def __init__(self, data: TrainingData) -> None:
        warm = data.popularity() > 0
        known = {name: unit_rows(f.matrix)[f.present & warm] for name, f in data.features.items()}
        self._center = {name: rows.mean(axis=0) if len(rows) else np.float32(0) for name, rows in known.items()}
        self._scale = {name: _scale(rows) for name, rows in known.items()}

    def fill(self, features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
        """All modalities side by side, (n_items, Σ d_m) float32; complete rows have a mean square norm of 1."""
        blocks = [
            f.present[:, None] * (unit_rows(f.matrix) - self._center[name]) / self._scale[name]
            for name, f in features.items()
        ]
        joined = np.concatenate(blocks, axis=1)
        return np.asarray(joined / np.sqrt(joined.shape[1]), dtype=np.float32)


def _scale(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standard deviations of columns; 1 for those that never vary."""
    if not len(rows):
        return np.ones(rows.shape[1], np.float32)
    return np.where(varying(rows), rows.std(axis=0), np.float32(1))
