"""Synthetic data whose right recommendations are known by construction."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from model_store import IdMap
from training.dataset import Dataset
from training.features import ModalityFeatures
from training.interactions import TEST, TRAIN, VAL, Interactions

DEFAULT_MODALITIES: Mapping[str, int] = {"image": 8, "text": 12}


def checkerboard(
    n_users: int = 60,
    n_items: int = 40,
    *,
    rng: np.random.Generator,
    modalities: Mapping[str, int] | None = None,
    communities: int = 2,
    noise: float = 0.1,
    missing: float = 0.2,
    validation: bool = False,
) -> Dataset:
    """Users interact with all items of their own community but one, which must therefore rank first.

    User and item rows belong to the community ``row % communities`` (a checkerboard where there are two, an idea of
    benfred/implicit's tests). The withheld item is in the test split, its interaction the user's latest. All users of a
    community withhold in turn, so that every item keeps interactions as long as a community has more users than items
    or several items.

    Args:
        n_users: number of users.
        n_items: number of items; at least three per community.
        rng: draws features, noise, order and what is missing.
        modalities: name → d_m; each item's features are its community's direction plus noise.
        communities: number of communities.
        noise: standard deviation of the noise, relative to directions of unit norm.
        missing: share of (item, modality) rows that are absent.
        validation: withhold a second item in the val split; both held-out items then share the first two ranks.

    Raises:
        ValueError: there are too few users or items for the communities.
    """
    if n_items < 3 * communities or n_users < communities:
        raise ValueError(f"expected 3 items and 1 user per community, found {n_items}, {n_users} for {communities}")
    users, items = np.nonzero(np.arange(n_users)[:, None] % communities == np.arange(n_items) % communities)
    liked = np.bincount(users, minlength=n_users)
    place = items // communities  # 0…liked-1 within a user's community
    turn = users // communities
    split = np.full(len(users), TRAIN, np.int8)
    split[place == turn % liked[users]] = TEST
    if validation:
        split[place == (turn + 1) % liked[users]] = VAL
    order = rng.permutation(len(users))
    timestamps = np.where(split == TRAIN, rng.random(len(users)), 1.0 + (split == TEST)).astype(np.float64)
    interactions = Interactions(users.astype(np.int32), items.astype(np.int32), timestamps=timestamps, split=split)
    names = sorted((modalities or DEFAULT_MODALITIES).items())
    return Dataset(
        users=IdMap(str(row) for row in range(n_users)),
        items=IdMap(str(row) for row in range(n_items)),
        interactions=interactions.take(order),
        features={name: _features(n_items, d_m, communities, noise, missing, rng) for name, d_m in names},
        item_columns=("community",),
        item_rows=tuple((str(row % communities),) for row in range(n_items)),
    )


def withheld_items(dataset: Dataset) -> NDArray[np.int64]:
    """The test item of each user of a checkerboard, (n_users,) item rows: what must rank first.

    Raises:
        ValueError: not every user has exactly one test item.
    """
    interactions = dataset.interactions
    chosen = np.flatnonzero(interactions.split == TEST) if interactions.split is not None else np.empty(0, np.int64)
    if not np.array_equal(np.bincount(interactions.users[chosen], minlength=dataset.n_users), np.ones(dataset.n_users)):
        raise ValueError("expected exactly one test item for each user")
    withheld = np.empty(dataset.n_users, np.int64)
    withheld[interactions.users[chosen]] = interactions.items[chosen]
    return withheld


def _features(
    n_items: int, d_m: int, communities: int, noise: float, missing: float, rng: np.random.Generator
) -> ModalityFeatures:
    directions = rng.normal(size=(communities, d_m))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    matrix = directions[np.arange(n_items) % communities] + noise * rng.normal(size=(n_items, d_m)) / np.sqrt(d_m)
    complete = ModalityFeatures(matrix.astype(np.float32), np.ones(n_items, np.bool_))
    return complete.masked(rng.random(n_items) >= missing)
