"""A data set ready for training: split, and cut down to what a model may see."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.dataset import Dataset
from training.models.contract import TrainingData
from training.splits import Split, hold_out_items, new_item_rows, ordered_history, split_codes, split_from_codes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set ready for training: its split codes and matrices, and what the model may see."""

    dataset: Dataset
    codes: NDArray[np.int8]
    split: Split
    data: TrainingData


def prepare_data(dataset: Dataset, seed: int, *, new_items: bool = False) -> Prepared:
    """Splits a data set; with ``new_items`` under the protocol of that name."""
    codes = split_codes(dataset, np.random.default_rng(seed))
    if new_items:
        codes = hold_out_items(codes, dataset.interactions, new_item_rows(dataset.n_items))
    return prepare_codes(dataset, codes)


def prepare_codes(dataset: Dataset, codes: NDArray[np.int8]) -> Prepared:
    """A data set under given split codes, (n,) int8 aligned with its interactions."""
    indptr, indices = ordered_history(dataset, codes)
    data = TrainingData(dataset.features, indptr, indices, dataset.n_items)
    return Prepared(dataset, codes, split_from_codes(dataset, codes), data)
