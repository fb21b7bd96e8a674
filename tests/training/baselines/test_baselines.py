"""What every baseline promises, on a checkerboard."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

from training.baselines import BASELINES, bpr
from training.dataset import Dataset
from training.datasets.synthetic import withheld_items
from training.evaluation import validation_recall
from training.masks import apply_mask
from training.metrics import ranking_metrics
from training.models.contract import Recommender
from training.prepared import Prepared, prepare_data

MakeBoard = Callable[..., Dataset]

COMMUNITIES = 4
NEW = [0, 1, 2, 3]
ENCODES_HISTORIES = {"popularity", "ease", "rp3beta", "spectral", "collective_ease", "content_knn"}
SOLVES_FOR_USERS = {"ials", "ials_tower"}
SEES_CONTENT = {"collective_ease", "content_knn", "ials_tower", "vbpr", "lightgcn_mean"}


class Fitted(NamedTuple):
    """A board, and a baseline fitted on it."""

    board: Dataset
    prepared: Prepared
    recommender: Recommender


def fit(name: str, board: Dataset, epochs: int) -> Fitted:
    """Fits a baseline as the command does, with so many epochs where it has any."""
    prepared = prepare_data(board, 0)
    validate = partial(validation_recall, split=prepared.split)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpr, "EPOCHS", epochs)
        return Fitted(board, prepared, BASELINES[name](prepared.data, validate, 0))


@pytest.fixture(scope="module", params=list(BASELINES))
def name(request: pytest.FixtureRequest) -> str:
    """Every baseline in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def fitted(name: str, make_board: MakeBoard) -> Fitted:
    """Every baseline on a board whose right answers are known; tests leave it as it is."""
    return fit(name, make_board(40, 32, communities=COMMUNITIES, missing=0.0), epochs=30)


@pytest.fixture(scope="module")
def with_new(name: str, make_board: MakeBoard) -> Fitted:
    """Every baseline on a board with new, bare and incomplete items."""
    return fit(name, make_board(40, 32, communities=COMMUNITIES, new=NEW, bare=[3, 9], missing=0.3), epochs=20)


def test_withheld_item_ranks_first(name: str, fitted: Fitted) -> None:
    """What a user's community likes comes first; popularity alone cannot know."""
    users, items, _ = fitted.recommender.embeddings()
    split = fitted.prepared.split
    result = ranking_metrics(users, items, split.test, split.train, ks=(1,)).mean()

    assert len(withheld_items(fitted.board)) == result["users"]
    if name != "popularity":
        assert result["recall@1"] == 1


def test_tables_are_finite_float32_of_one_width(with_new: Fitted) -> None:
    """Each user and each item has a row, also new and bare items."""
    users, items, _ = with_new.recommender.embeddings()

    assert users.dtype == items.dtype == np.float32
    assert users.shape == (40, items.shape[1])
    assert len(items) == 32
    assert np.isfinite(users).all()
    assert np.isfinite(items).all()


@pytest.mark.parametrize("name", sorted(SEES_CONTENT), indirect=True)
def test_new_items_are_placed_by_content(with_new: Fitted) -> None:
    """Models that see content tell new items apart; of one new item per community the own one ranks first."""
    users, items, _ = with_new.recommender.embeddings()
    dressed = [item for item in NEW if any(f.present[item] for f in with_new.board.features.values())]

    best = np.array(dressed)[(users @ items[dressed].T).argmax(axis=1)]

    own = np.isin(np.arange(40) % COMMUNITIES, dressed)
    assert (best == np.arange(40) % COMMUNITIES)[own].mean() > 0.9


def test_other_features_change_only_what_sees_content(name: str, with_new: Fitted) -> None:
    """Tables are computed anew for other features; models of interactions alone stay as they are."""
    before = with_new.recommender.embeddings().items
    features = with_new.prepared.data.features
    everything = apply_mask(features, np.ones((32, len(features)), bool))

    after = with_new.recommender.embeddings(everything).items

    assert np.isfinite(after).all()
    assert np.array_equal(before, after) != (name in SEES_CONTENT)
    np.testing.assert_array_equal(with_new.recommender.embeddings().items, before)


@pytest.mark.parametrize("name", sorted(ENCODES_HISTORIES | SOLVES_FOR_USERS), indirect=True)
def test_fold_in_of_the_training_histories_gives_the_users(with_new: Fitted) -> None:
    """Whoever has the history of a trained user is encoded as that user is."""
    data = with_new.prepared.data

    users = with_new.recommender.fold_in(data.indptr, data.indices)

    np.testing.assert_allclose(users, with_new.recommender.embeddings().users, rtol=1e-5, atol=1e-6)


def test_fold_in_finds_the_withheld_item(name: str, fitted: Fitted) -> None:
    """A user known by history alone is recommended what a trained one is; an empty history is no error."""
    data, split = fitted.prepared.data, fitted.prepared.split
    users = fitted.recommender.fold_in(data.indptr, data.indices)
    result = ranking_metrics(users, fitted.recommender.embeddings().items, split.test, split.train, ks=(1,)).mean()

    if name != "popularity":
        assert result["recall@1"] == 1
    nobody = fitted.recommender.fold_in(np.zeros(2, np.int64), np.zeros(0, np.int32))
    assert nobody.shape == (1, users.shape[1])
    assert np.isfinite(nobody).all()


def test_seeds_reproduce(name: str, with_new: Fitted) -> None:
    """The same data and seed give the same tables, to the bit."""
    again = fit(name, with_new.board, epochs=20).recommender.embeddings()

    for before, after in zip(with_new.recommender.embeddings()[:2], again[:2], strict=True):
        np.testing.assert_array_equal(before, after)
