"""What a bundle holds, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.ids import IdMap

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class BundleContents:
    """Everything a bundle holds; see ``docs/bundle-format.md``.

    Attributes:
        user_embeddings: (n_users, d) float32.
        item_embeddings: (n_items, d) float32; score = inner product with a user row.
        history_embeddings: (n_items, d) float32, or None where users exist only as rows.
        features: modality → (n_items, d_m) float32; a row of NaN = the item lacks the modality.
        seen_indptr: (n_users + 1,) int64, CSR row pointers of the seen lists.
        seen_indices: (nnz,) int32 item rows, oldest first within a user.
        popularity: (n_items,) float32, interactions per item in the training data.
        item_columns: names of the metadata columns of ``items.tsv``.
        item_rows: (n_items) tuples of metadata, one value per column.
    """

    users: IdMap
    items: IdMap
    user_embeddings: FloatArray
    item_embeddings: FloatArray
    history_embeddings: FloatArray | None
    features: Mapping[str, FloatArray]
    seen_indptr: NDArray[np.int64]
    seen_indices: NDArray[np.int32]
    popularity: FloatArray
    item_columns: tuple[str, ...] = ()
    item_rows: Sequence[tuple[str, ...]] = field(default_factory=tuple)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by the stem of their file name."""
        arrays: dict[str, NDArray[Any]] = {
            "user_embeddings": self.user_embeddings,
            "item_embeddings": self.item_embeddings,
            "seen_indptr": self.seen_indptr,
            "seen_indices": self.seen_indices,
            "popularity": self.popularity,
            **{f"features_{name}": array for name, array in self.features.items()},
        }
        if self.history_embeddings is not None:
            arrays["history_embeddings"] = self.history_embeddings
        return arrays
