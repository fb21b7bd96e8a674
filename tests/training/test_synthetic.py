"""The checkerboard: its right answers, and that they can be found from its features."""

import numpy as np
import pytest

from training.dataset import Dataset
from training.datasets.synthetic import checkerboard, withheld_items
from training.interactions import TEST, TRAIN, VAL
from training.metrics import ranking_metrics
from training.splits import Split, ordered_history, split_codes, split_from_codes


def split_of(dataset: Dataset) -> Split:
    """Train, validation and test of a board, as it prescribes them."""
    return split_from_codes(dataset, split_codes(dataset, np.random.default_rng(0)))


@pytest.mark.parametrize("communities", [2, 3])
def test_users_like_their_community_but_one_item(communities: int) -> None:
    """Train and test together are the user's community, and one item of it is withheld."""
    dataset = checkerboard(12, 15, rng=np.random.default_rng(0), communities=communities)

    split = split_of(dataset)

    liked = np.arange(12)[:, None] % communities == np.arange(15) % communities
    np.testing.assert_array_equal((split.train + split.test).toarray() > 0, liked)
    assert split.test.sum(axis=1).tolist() == [[1]] * 12
    assert split.val.nnz == 0


def test_withheld_items_are_the_test_items_and_the_latest() -> None:
    """The helper says what must rank first, and histories end with it."""
    dataset = checkerboard(10, 8, rng=np.random.default_rng(1))

    withheld = withheld_items(dataset)
    codes = split_codes(dataset, np.random.default_rng(0))
    indptr, indices = ordered_history(dataset, codes, (TRAIN, TEST))

    split = split_of(dataset)
    assert withheld.tolist() == split.test.indices.tolist()
    assert indices[indptr[1:] - 1].tolist() == withheld.tolist()


def test_every_item_keeps_training_interactions() -> None:
    """Users withhold in turn, so no item becomes cold by accident."""
    split = split_of(checkerboard(rng=np.random.default_rng(0)))

    assert np.asarray(split.train.sum(axis=0)).min() > 0


def test_validation_withholds_a_second_item() -> None:
    """A trainer that stops early has something to select by."""
    dataset = checkerboard(10, 12, rng=np.random.default_rng(0), validation=True)

    codes = split_codes(dataset, np.random.default_rng(0))

    assert np.bincount(dataset.interactions.users[codes == VAL], minlength=10).tolist() == [1] * 10
    assert len(withheld_items(dataset)) == 10


def test_right_answer_ranks_first_by_mean_feature_of_the_history() -> None:
    """The features alone reveal the community: the profile of liked items ranks the withheld one first."""
    dataset = checkerboard(20, 16, rng=np.random.default_rng(2), missing=0.0, noise=0.05)
    split = split_of(dataset)
    items = dataset.features["text"].matrix

    result = ranking_metrics(np.asarray(split.train @ items, np.float32), items, split.test, split.train, ks=(1,))

    assert result.mean()["recall@1"] == 1


def test_missing_rows_are_absent_and_zero() -> None:
    """About the asked-for share of rows is missing in each modality, independently."""
    dataset = checkerboard(10, 600, rng=np.random.default_rng(0), missing=0.3, modalities={"b": 3, "a": 2})

    assert {name: features.dim for name, features in dataset.features.items()} == {"a": 2, "b": 3}
    assert list(dataset.features) == ["a", "b"]
    for features in dataset.features.values():
        assert 0.6 < features.present.mean() < 0.8
        assert not features.matrix[~features.present].any()


def test_same_generator_state_gives_the_same_data() -> None:
    """The generator is the only source of randomness."""
    one, same = (checkerboard(rng=np.random.default_rng(5)) for _ in range(2))

    np.testing.assert_array_equal(one.interactions.items, same.interactions.items)
    np.testing.assert_array_equal(one.features["image"].matrix, same.features["image"].matrix)


@pytest.mark.parametrize(("n_users", "n_items", "communities"), [(10, 5, 2), (1, 30, 2)])
def test_too_small_a_board_is_refused(n_users: int, n_items: int, communities: int) -> None:
    """Each community needs three items and a user."""
    with pytest.raises(ValueError, match="expected 3 items and 1 user per community"):
        checkerboard(n_users, n_items, rng=np.random.default_rng(0), communities=communities)


def test_withheld_items_of_other_data_are_refused() -> None:
    """Where a user has no test item, there is no known answer."""
    dataset = checkerboard(10, 8, rng=np.random.default_rng(0))
    assert dataset.interactions.split is not None
    dataset.interactions.split[:] = TRAIN

    with pytest.raises(ValueError, match="expected exactly one test item"):
        withheld_items(dataset)
