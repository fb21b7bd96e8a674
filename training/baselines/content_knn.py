"""Content kNN: items that look or sound like those of the history; interactions shape nothing but the user.

``s_ui = Σ_{j ∈ H(u) ∩ N_k(i)} cos(x_j, x_i)``  with x the unit rows of all present modalities side by side and N_k(i)
the k items with interactions that are most like i: item-based kNN (Sarwar et al., WWW 2001) on content in place of
clicks. What an item lacks adds nothing to its cosines; an item with nothing has none, and scores 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.baselines.content import unit_blocks, unit_rows
from training.baselines.item_item import histories, keep_largest, refuse_large
from training.baselines.selection import Validate, select
from training.features import ModalityFeatures
from training.models.contract import Embeddings, TrainingData

NEIGHBOURS = (30, 10, 100)
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class ContentKNN:
    """Neighbours are looked up anew for other features.

    Attributes:
        data: what it was fitted on.
        k: neighbours of an item.
    """

    data: TrainingData
    k: int

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """Histories and neighbours' cosines; see ``Recommender.embeddings``."""
        items = cosines(features or self.data.features, self.data.popularity() > 0, self.k)
        return Embeddings(self.fold_in(self.data.indptr, self.data.indices), items, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """The histories as dense binary rows, (n, n_items)."""
        return histories(indptr, indices, self.data.n_items)


def fit(data: TrainingData, validate: Validate, seed: int) -> ContentKNN:  # noqa: ARG001
    """Chooses k among ``NEIGHBOURS``.

    Raises:
        CatalogueTooLarge: there are too many items for a weight per pair.
    """
    refuse_large(data)
    return select((ContentKNN(data, k) for k in NEIGHBOURS), validate)


def cosines(features: Mapping[str, ModalityFeatures], warm: NDArray[np.bool_], k: int) -> NDArray[np.float32]:
    """Of each item the cosines with its k neighbours among ``warm`` (n_items,) bool, (n_items, n_items) float32."""
    content = unit_rows(unit_blocks(features))
    kept = np.zeros((len(content), len(content)), np.float32)
    for start in range(0, len(content), _BLOCK):
        block = np.maximum(content[start : start + _BLOCK] @ content.T, 0) * warm
        rows = np.arange(len(block))
        block[rows, start + rows] = 0
        kept[start : start + _BLOCK] = keep_largest(block, k)
    return kept
