"""Boards with items that are new or bare, and tiny models trained on them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from training.config import TrainConfig
from training.dataset import Dataset
from training.datasets.synthetic import checkerboard
from training.interactions import TEST
from training.loop import Outcome, train
from training.models.i3mrec import I3MRec
from training.prepared import Prepared, prepare_data

MakeBoard = Callable[..., Dataset]


class Trained(NamedTuple):
    """A model and what it was trained on."""

    prepared: Prepared
    config: TrainConfig
    model: I3MRec
    outcome: Outcome


Learn = Callable[..., Trained]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads, and sums in another order are other numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_board() -> MakeBoard:
    """Makes a checkerboard: ``make_board(new=…, bare=…, seed=…, **options)``.

    ``new`` items have only test interactions, ``bare`` items have no modality at all.
    """

    def make(
        *args: int, new: Collection[int] = (), bare: Collection[int] = (), seed: int = 0, **options: Any
    ) -> Dataset:
        board = checkerboard(*args, rng=np.random.default_rng(seed), **options)
        interactions = board.interactions
        dressed = ~np.isin(np.arange(board.n_items), list(bare))
        return replace(
            board,
            interactions=interactions.take(~np.isin(interactions.items, list(new)) | (interactions.split == TEST)),
            features={name: features.masked(dressed) for name, features in board.features.items()},
        )

    return make


@pytest.fixture(scope="session")
def learn() -> Learn:
    """Trains the default preset, small: ``learn(dataset, epochs=…, **config)``."""

    def learn_it(dataset: Dataset, **options: Any) -> Trained:
        small = {"d": 16, "hidden": 32, "epochs": 20, "patience": 100, "evaluate_every": 20, "device": "cpu"}
        config = TrainConfig(**(small | options))
        prepared = prepare_data(dataset, config.seed)
        model = I3MRec(prepared.data, config, torch.device(config.device))
        return Trained(prepared, config, model, train(model, prepared.split, config, lambda _: None))

    return learn_it
