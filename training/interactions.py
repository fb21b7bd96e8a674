"""Who interacted with what, and when."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TRAIN = 0
VAL = 1
TEST = 2
SPLIT_NAMES = ("train", "val", "test")  # the name of a split code stands at its index


@dataclass(frozen=True, slots=True)
class Interactions:
    """Interactions in file order; a (user, item) pair occurs once.

    Attributes:
        users: (n,) int32, user rows.
        items: (n,) int32, item rows.
        ratings: (n,) float32, or None where the data has none.
        timestamps: (n,) float64, any unit that grows with time, or None.
        split: (n,) int8, TRAIN, VAL or TEST, or None where the data does not prescribe a split.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32] | None = None
    timestamps: NDArray[np.float64] | None = None
    split: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "Interactions":
        """The interactions at ``rows`` (positions or a mask), in that order."""
        return Interactions(
            users=self.users[rows],
            items=self.items[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
            timestamps=None if self.timestamps is None else self.timestamps[rows],
            split=None if self.split is None else self.split[rows],
        )
