"""Full-rank item–item models: a user is the history itself, and every pair of items has a weight."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError
from training.features import ModalityFeatures
from training.graph import interaction_matrix
from training.models.contract import Embeddings, TrainingData

MAX_ITEMS = 30_000  # weights of 3.4 GiB
MAX_CELLS = 1 << 30  # histories of 4 GiB


class CatalogueTooLarge(TrainingError):
    """A weight for every pair of items, or a cell for every user and item, would not fit into memory.

    Attributes:
        n_items: items in the catalogue.
        n_users: users.
    """

    def __init__(self, n_items: int, n_users: int) -> None:
        self.n_items = n_items
        self.n_users = n_users
        super().__init__(
            f"expected at most {MAX_ITEMS} items and {MAX_CELLS} pairs of a user and an item for an item–item model, "
            f"found {n_items} items and {n_users * n_items} pairs"
        )


@dataclass(frozen=True, slots=True)
class ItemItem:
    """``s_ui = Σ_{j ∈ H(u)} B_ji``: users are binary histories (d = n_items), items the columns of B.

    Attributes:
        data: what it was fitted on.
        weights: B, (n_items, n_items) float32.
    """

    data: TrainingData
    weights: NDArray[np.float32]

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:  # noqa: ARG002
        """Histories and weights; see ``Recommender.embeddings``."""
        return Embeddings(self.fold_in(self.data.indptr, self.data.indices), self.weights.T, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """The histories as dense binary rows, (n, n_items)."""
        return histories(indptr, indices, self.data.n_items)


def histories(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_items: int) -> NDArray[np.float32]:
    """Histories as dense binary rows, (n, n_items) float32."""
    rows: NDArray[np.float32] = interaction_matrix(indptr, indices, n_items).toarray()
    return rows


def gram_matrix(data: TrainingData) -> NDArray[np.float32]:
    """``XᵀX``, (n_items, n_items) float32: how many users two items share.

    Raises:
        CatalogueTooLarge: there are too many items for a weight per pair, or too many users.
    """
    refuse_large(data)
    interactions = interaction_matrix(data.indptr, data.indices, data.n_items)
    gram: NDArray[np.float32] = (interactions.T @ interactions).toarray()
    return gram


def refuse_large(data: TrainingData) -> None:
    """Raises CatalogueTooLarge where there are too many items for a weight per pair, or too many users."""
    if data.n_items > MAX_ITEMS or data.n_items * data.n_users > MAX_CELLS:
        raise CatalogueTooLarge(data.n_items, data.n_users)


def keep_largest(matrix: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """(b, n) with all but the k largest of each row set to zero; equals of the k-th stay."""
    if k >= matrix.shape[1]:
        return matrix
    bar = np.partition(matrix, -k, axis=1)[:, -k, None]
    return np.where(matrix >= bar, matrix, np.float32(0))
