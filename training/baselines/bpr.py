"""Learning to rank pairs: the training that VBPR and LightGCN share.

Bayesian personalised ranking (Rendle et al., UAI 2009): ``-ln σ(s_ui - s_uj)`` over observed pairs (u, i) and sampled
items j that u does not have, plus an L2 penalty on the embeddings of the three. Adam; early stopping by validation.
Always on the CPU: baselines have no settings, and a run that counts as the same gives the same numbers everywhere.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from training.baselines.selection import Validate
from training.errors import NothingToLearn
from training.features import ModalityFeatures
from training.graph import interaction_matrix
from training.models.contract import Embeddings, TrainingData

D = 64
STEPS = 8  # of an epoch
EPOCHS = 300
EVALUATE_EVERY = 5
PATIENCE = 8  # validations
_RETRIES = 20
_FOLD_IN_RIDGE = 1e-3

Triple = tuple[Tensor, Tensor, Tensor]


class Settings(NamedTuple):
    """What differs from model to model: Adam's step size, and the weight of the penalty."""

    lr: float
    penalty: float


class PairwiseNetwork(Protocol):
    """What can be trained: a module that gives tables, and says what of a step is penalised."""

    def tables(self, features: Mapping[str, ModalityFeatures] | None = None) -> tuple[Tensor, Tensor]:
        """User and item rows whose inner product is the score; with other features those of other features."""
        ...

    def penalty(self, triple: Triple) -> Tensor:
        """Sum of squares of the embeddings that the (users, positives, negatives) of a step own."""
        ...


class Pairwise:
    """A trained network as a recommender.

    Users exist as rows only; fold-in maps histories to rows by the ridge regression, over training users, of their rows
    on ``|H|^-½ Σ_{i ∈ H} v_i`` and a constant.
    """

    def __init__(self, network: PairwiseNetwork, data: TrainingData) -> None:
        self.network, self._data = network, data

    @torch.no_grad()
    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """The network's tables; see ``Recommender.embeddings``."""
        users, items = self.network.tables(features)
        return Embeddings(users.numpy(), items.numpy(), None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Users by regression on their histories, (n, d)."""
        users, items, _ = self.embeddings()
        known = np.diff(self._data.indptr) > 0
        inputs = _summary(self._data.indptr, self._data.indices, items)
        x, y = inputs[known], users[known].astype(np.float64)
        gram = x.T @ x
        ridge = _FOLD_IN_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        mapping = np.linalg.solve(gram + ridge, x.T @ y)
        return np.asarray(_summary(indptr, indices, items) @ mapping, dtype=np.float32)


def train_pairwise(
    network: nn.Module, data: TrainingData, validate: Validate, seed: int, settings: Settings
) -> Pairwise:
    """Trains a ``PairwiseNetwork`` and leaves it at its best validation (the latest of equals).

    Raises:
        NothingToLearn: there are no interactions.
    """
    if not len(data.indices):
        raise NothingToLearn("expected training interactions, found none")
    recommender = Pairwise(network, data)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr)
    rng = np.random.default_rng(seed)
    best, best_state, stale = -1.0, copy.deepcopy(network.state_dict()), 0
    for epoch in range(1, EPOCHS + 1):
        for triple in triples(data, rng):
            users, positives, negatives = (torch.from_numpy(rows) for rows in triple)
            loss = _loss(recommender.network, (users, positives, negatives), settings.penalty)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if epoch % EVALUATE_EVERY:
            continue
        recall = validate(recommender.embeddings())
        if recall >= best:
            best, best_state, stale = recall, copy.deepcopy(network.state_dict()), 0
        else:
            stale += 1
        if stale == PATIENCE:
            break
    network.load_state_dict(best_state)
    return recommender


def triples(
    data: TrainingData, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """One epoch: every interaction once, shuffled, in ``STEPS`` parts, each with an item that its user does not have.

    Negatives come from items with training interactions alone: never held-out or new ones. A negative that hits the
    user's history is drawn anew a few times, then left; it matters only to users who have nearly everything.
    """
    interactions = interaction_matrix(data.indptr, data.indices, data.n_items)
    users = np.repeat(np.arange(data.n_users), np.diff(interactions.indptr))
    items = interactions.indices.astype(np.int64)
    keys = users * data.n_items + items  # ascending
    population = np.unique(items)
    for chosen in np.array_split(rng.permutation(len(users)), min(STEPS, len(users))):
        negatives = rng.choice(population, len(chosen))
        for _ in range(_RETRIES):
            wanted = users[chosen] * data.n_items + negatives
            hits = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
            if not hits.any():
                break
            negatives[hits] = rng.choice(population, int(hits.sum()))
        yield users[chosen], items[chosen], negatives


def _loss(network: PairwiseNetwork, triple: Triple, weight: float) -> Tensor:
    user_rows, item_rows = network.tables()
    users, positives, negatives = triple
    margin = (user_rows[users] * (item_rows[positives] - item_rows[negatives])).sum(dim=1)
    return softplus(-margin).mean() + weight / 2 * network.penalty(triple) / len(users)


def _summary(indptr: NDArray[np.int64], indices: NDArray[np.int32], items: NDArray[np.float32]) -> NDArray[np.float64]:
    """``|H|^-½ Σ v_i`` and a 1, (n, d + 1)."""
    sums = interaction_matrix(indptr, indices, len(items)).astype(np.float64) @ items.astype(np.float64)
    counts = np.maximum(np.diff(indptr), 1)[:, None]
    return np.concatenate([sums * counts**-0.5, np.ones((len(counts), 1))], axis=1)
