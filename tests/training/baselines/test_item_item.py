"""EASE, RP³β, collective EASE and content kNN against their formulas, written out."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from training.baselines import BASELINES, collective_ease, content_knn, ease, rp3beta
from training.baselines.item_item import MAX_CELLS, MAX_ITEMS, CatalogueTooLarge, ItemItem, gram_matrix, keep_largest
from training.features import ModalityFeatures
from training.models.contract import TrainingData

MakeData = Callable[[list[list[int]], int], TrainingData]
HISTORIES = [[0, 1], [1, 2], [2, 1, 0], [2], []]


def test_ease_is_the_direct_formula(make_data: MakeData) -> None:
    """B = I − P diag(1 / diag P), whose diagonal is 0."""
    x = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 0]])
    p = np.linalg.inv(x.T @ x + 2.0 * np.eye(3))
    expected = np.eye(3) - p @ np.diag(1 / np.diag(p))

    weights = ease.weights(gram_matrix(make_data(HISTORIES, 3)), 2.0)

    np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_item_item_scores_are_sums_of_weights(make_data: MakeData) -> None:
    """The inner product of the tables is the history times B, row for row and column for column."""
    data = make_data(HISTORIES, 3)
    b = np.arange(9, dtype=np.float32).reshape(3, 3)

    tables = ItemItem(data, b).embeddings()

    assert (tables.users @ tables.items.T).tolist()[0] == (b[0] + b[1]).tolist()


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (0.7, 0.3)])
def test_rp3beta_is_the_walk_written_out(make_data: MakeData, alpha: float, beta: float) -> None:
    """Item to user to item, each step by its probability to the power of α, ends discounted."""
    n_items = 4  # item 3 has no interactions
    counts = [sum(item in history for history in HISTORIES) for item in range(n_items)]
    expected = np.zeros((n_items, n_items))
    for j in range(n_items):
        for i in range(n_items):
            for history in HISTORIES:
                if i != j and i in history and j in history:
                    expected[j, i] += counts[j] ** -alpha * len(history) ** -alpha / counts[i] ** beta

    weights = rp3beta.weights(make_data(HISTORIES, n_items), alpha, beta, k=n_items)

    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_keep_largest_keeps_k_and_equals() -> None:
    """Of each row the k largest stay, where they were."""
    matrix = np.array([[3, 1, 2], [1, 1, 0]], np.float32)

    assert keep_largest(matrix, 1).tolist() == [[3, 0, 0], [1, 1, 0]]
    assert keep_largest(matrix, 5).tolist() == matrix.tolist()


def test_collective_ease_adds_what_features_share(make_data: MakeData) -> None:
    """It is EASE on XᵀX + w FFᵀ, anew for other features."""
    data = make_data(HISTORIES, 3)
    hidden = data.features["image"].masked(np.array([True, False, True]))
    features = {**data.features, "image": hidden}
    blocks = [np.nan_to_num(f.matrix / np.linalg.norm(f.matrix, axis=1, keepdims=True)) for f in data.features.values()]
    blocks[0][1] = 0
    gram = gram_matrix(data)
    expected = ease.weights(gram + 3 * sum(f @ f.T for f in blocks), 2.0)

    items = collective_ease.CollectiveEase(data, gram, 2.0, 3.0).embeddings(features).items

    np.testing.assert_allclose(items, expected.T, rtol=1e-5)


def test_content_neighbours_are_the_most_alike_of_warm_items() -> None:
    """A new item may have neighbours, but is nobody's; an item without content has none."""
    rows = np.array([[1, 0], [2, 0.1], [0, 1], [1, 0], [np.nan, np.nan]])
    features = {"image": ModalityFeatures.from_nan(rows)}

    cosines = content_knn.cosines(features, warm=np.array([True, True, True, False, True]), k=1)

    alike = 2 / np.hypot(2, 0.1)
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 0] = alike
    expected[2, 1] = 0.1 / np.hypot(2, 0.1)
    expected[3, 0] = 1
    np.testing.assert_allclose(cosines, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["ease", "rp3beta", "collective_ease", "content_knn"])
@pytest.mark.parametrize(("n_items", "n_users"), [(MAX_ITEMS + 1, 5), (20_000, MAX_CELLS // 20_000 + 1)])
def test_item_item_models_refuse_what_is_too_large(name: str, make_data: MakeData, n_items: int, n_users: int) -> None:
    """A weight per pair of items, or a cell per user and item, is refused before memory is."""
    small = make_data(HISTORIES, 3)
    more = np.full(n_users + 1 - len(small.indptr), small.indptr[-1])
    data = replace(small, n_items=n_items, indptr=np.concatenate([small.indptr, more]))

    with pytest.raises(CatalogueTooLarge, match=f"at most 30000 items and .*, found {n_items} items and"):
        BASELINES[name](data, lambda _: 0.0, 0)
