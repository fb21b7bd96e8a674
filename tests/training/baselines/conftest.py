"""Histories small enough to work by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from training.features import ModalityFeatures
from training.models.contract import TrainingData

MakeData = Callable[[list[list[int]], int], TrainingData]


@pytest.fixture(scope="session")
def make_data() -> MakeData:
    """Makes training data of histories: ``make_data([[items of user 0], …], n_items)``, with random content."""

    def make(histories: list[list[int]], n_items: int) -> TrainingData:
        indptr = np.cumsum([0, *map(len, histories)])
        indices = np.array([item for history in histories for item in history], np.int32)
        rng = np.random.default_rng(0)
        features = {
            name: ModalityFeatures.from_nan(rng.normal(size=(n_items, d_m)).astype(np.float32))
            for name, d_m in (("image", 3), ("text", 4))
        }
        return TrainingData(features, indptr, indices, n_items)

    return make
