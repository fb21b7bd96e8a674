"""Popularity: what most users have, for everybody."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.baselines.selection import Validate
from training.features import ModalityFeatures
from training.models.contract import Embeddings, TrainingData


@dataclass(frozen=True, slots=True)
class Popularity:
    """``s_ui = |U(i)|``: one dimension, every user 1.

    Attributes:
        data: what it was fitted on.
    """

    data: TrainingData

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:  # noqa: ARG002
        """Ones and counts; see ``Recommender.embeddings``."""
        counts = self.data.popularity().astype(np.float32)[:, None]
        return Embeddings(self.fold_in(self.data.indptr, self.data.indices), counts, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:  # noqa: ARG002
        """The same for everybody, (n, 1)."""
        return np.ones((len(indptr) - 1, 1), np.float32)


def fit(data: TrainingData, validate: Validate, seed: int) -> Popularity:  # noqa: ARG001
    """Counts; there is nothing to choose."""
    return Popularity(data)
