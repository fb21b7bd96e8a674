"""Makes a data set of MovieLens, and sets some of its films aside as if they had not come out yet."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model_store import IdMap
from training.dataset import Dataset, user_order
from training.datasets.film_features import FilmEncoder
from training.datasets.movielens import Film, MovieLens
from training.errors import PreparationFailed
from training.features import ModalityFeatures
from training.interactions import Interactions
from training.splits import split_codes

LIKED = 4  # stars from which a rating counts as positive
_FEWEST_FANS = 20  # positive ratings that a film set aside has, so that its recommendations can be judged


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Films that the data set knows nothing of.

    Attributes:
        films: the films.
        features: modality → features of these films, by the encoder of the data set's own films.
        liked: (user id, item id) of the positive ratings, of users that the data set knows.
    """

    films: tuple[Film, ...] = ()
    features: dict[str, ModalityFeatures] | None = None
    liked: tuple[tuple[str, str], ...] = ()


def build_dataset(movielens: MovieLens, hold_back: int, seed: int) -> tuple[Dataset, HeldBack]:
    """The positive ratings as interactions, split by time 80/10/10 per user; all films not held back as items.

    Films without a positive rating stay: they are the real cold start. Nothing of the data set is computed from the
    films held back, which have all modalities and at least 20 positive ratings.

    Raises:
        PreparationFailed: fewer than ``hold_back`` films qualify, or nothing would remain.
    """
    rng = np.random.default_rng(seed)
    positive = movielens.ratings >= LIKED
    aside = _choose(movielens, positive, hold_back, rng)
    kept = tuple(film for film in movielens.films if film.item_id not in aside)
    chosen = np.flatnonzero(positive & np.array([item not in aside for item in movielens.items], np.bool_))
    if not len(chosen):
        raise PreparationFailed("no positive rating remains: hold back fewer films")
    encoder = FilmEncoder(kept)
    items = IdMap(film.item_id for film in kept)
    raters = [movielens.users[k] for k in chosen]
    users = IdMap(user_order(set(raters)))
    interactions = Interactions(
        users=users.rows(raters).astype(np.int32),
        items=items.rows([movielens.items[k] for k in chosen]).astype(np.int32),
        ratings=movielens.ratings[chosen],
        timestamps=movielens.timestamps[chosen],
    )
    rows = tuple((film.title, film.year, "|".join(film.genres)) for film in kept)
    dataset = Dataset(users, items, interactions, encoder.encode(kept), ("title", "year", "categories"), rows)
    split = replace(interactions, split=split_codes(dataset, rng))
    held_back = _held_back(movielens, positive, aside, users, encoder)
    return replace(dataset, interactions=split), held_back


def _choose(
    movielens: MovieLens, positive: NDArray[np.bool_], hold_back: int, rng: np.random.Generator
) -> frozenset[str]:
    fans: dict[str, int] = dict.fromkeys((film.item_id for film in movielens.films), 0)
    for k in np.flatnonzero(positive):
        fans[movielens.items[k]] += 1
    fit = [f.item_id for f in movielens.films if f.title and f.year and f.genres and fans[f.item_id] >= _FEWEST_FANS]
    if not 0 <= hold_back <= len(fit):
        raise PreparationFailed(f"expected to hold back 0 to {len(fit)} films, found {hold_back}")
    return frozenset(rng.choice(fit, hold_back, replace=False).tolist() if hold_back else ())


def _held_back(
    movielens: MovieLens, positive: NDArray[np.bool_], aside: Collection[str], users: IdMap, encoder: FilmEncoder
) -> HeldBack:
    films = tuple(film for film in movielens.films if film.item_id in aside)
    if not films:
        return HeldBack()
    pairs = ((movielens.users[k], movielens.items[k]) for k in np.flatnonzero(positive))
    liked = tuple((user, item) for user, item in pairs if item in aside and user in users)
    return HeldBack(films, encoder.encode(films), liked)
