"""Splits: which interaction goes where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import IdMap
from training.dataset import Dataset
from training.features import ModalityFeatures
from training.interactions import TEST, TRAIN, VAL, Interactions
from training.splits import (
    DROPPED,
    hold_out_items,
    new_item_rows,
    ordered_history,
    split_codes,
    split_from_codes,
)


def make_dataset(
    users: list[int], items: list[int], timestamps: list[float] | None = None, split: list[int] | None = None
) -> Dataset:
    """A data set with these interactions and one modality."""
    n_items = max(items) + 1
    return Dataset(
        users=IdMap(map(str, range(max(users) + 1))),
        items=IdMap(map(str, range(n_items))),
        interactions=Interactions(
            np.array(users, np.int32),
            np.array(items, np.int32),
            timestamps=None if timestamps is None else np.array(timestamps, np.float64),
            split=None if split is None else np.array(split, np.int8),
        ),
        features={"text": ModalityFeatures(np.ones((n_items, 1), np.float32), np.ones(n_items, np.bool_))},
    )


def test_prescribed_split_is_followed() -> None:
    """The split column decides, whatever the timestamps say."""
    dataset = make_dataset([0, 0, 0], [0, 1, 2], timestamps=[1, 2, 3], split=[TEST, TRAIN, VAL])

    split = split_from_codes(dataset, split_codes(dataset, np.random.default_rng(0)))

    assert split.train.toarray().tolist() == [[0, 1, 0]]
    assert split.val.toarray().tolist() == [[0, 0, 1]]
    assert split.test.toarray().tolist() == [[1, 0, 0]]
    assert {part.dtype for part in (split.train, split.val, split.test)} == {np.dtype(np.float32)}


def test_prescribed_split_is_copied() -> None:
    """Changing the codes leaves the data as it was."""
    dataset = make_dataset([0, 0], [0, 1], split=[TRAIN, TEST])

    split_codes(dataset, np.random.default_rng(0))[:] = VAL

    assert dataset.interactions.split is not None
    assert dataset.interactions.split.tolist() == [TRAIN, TEST]


def test_latest_interactions_are_held_out() -> None:
    """Of ten interactions the latest is tested, the one before validates, the other eight train."""
    times = [5, 3, 9, 1, 7, 0, 8, 2, 6, 4]
    dataset = make_dataset([0] * 10, list(range(10)), timestamps=[float(t) for t in times])

    codes = split_codes(dataset, np.random.default_rng(0))

    assert codes.tolist() == [{9: TEST, 8: VAL}.get(t, TRAIN) for t in times]


def test_equal_timestamps_fall_back_to_file_order() -> None:
    """The later line counts as later."""
    dataset = make_dataset([0] * 4, [3, 1, 2, 0], timestamps=[7.0] * 4)

    assert split_codes(dataset, np.random.default_rng(0)).tolist() == [TRAIN, TRAIN, VAL, TEST]


@pytest.mark.parametrize(
    ("count", "parts"), [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (14, (12, 1, 1)), (25, (21, 2, 2))]
)
def test_shares_are_rounded_but_never_to_nothing(count: int, parts: tuple[int, int, int]) -> None:
    """10 % of 14 is 1 and of 25 is 2 (halves to even); users below three interactions only train."""
    dataset = make_dataset([0] * count, list(range(count)))

    codes = split_codes(dataset, np.random.default_rng(0))

    assert tuple(np.bincount(codes, minlength=3).tolist()) == parts


def test_random_split_depends_on_the_generator_alone() -> None:
    """Without timestamps the same generator state gives the same split, another one another."""
    dataset = make_dataset([0] * 50, list(range(50)))

    one, same, other = (split_codes(dataset, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))

    assert one == same
    assert one != other


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.0, 1.0)])
def test_shares_that_leave_nothing_are_refused(val: float, test: float) -> None:
    """Shares are non-negative and leave a part to train on."""
    with pytest.raises(ValueError, match="expected shares"):
        split_codes(make_dataset([0], [0]), np.random.default_rng(0), val, test)


def test_share_of_zero_holds_nothing_out() -> None:
    """Without a validation share, three interactions are two and one."""
    dataset = make_dataset([0] * 3, [0, 1, 2], timestamps=[1, 2, 3])

    assert split_codes(dataset, np.random.default_rng(0), 0, 0.1).tolist() == [TRAIN, TRAIN, TEST]
    assert split_codes(dataset, np.random.default_rng(0), 0, 0).tolist() == [TRAIN] * 3


@given(
    pairs=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 30)), min_size=1),
    shares=st.tuples(st.floats(0, 0.49), st.floats(0, 0.5)),
    seed=st.integers(0, 99),
    timed=st.booleans(),
)
def test_every_user_keeps_training_interactions(
    pairs: set[tuple[int, int]], shares: tuple[float, float], seed: int, timed: bool
) -> None:
    """Each interaction lands in one part, nobody is left without training data, and train precedes val and test."""
    users, items = map(list, zip(*pairs, strict=True))
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 9, len(users)).astype(float).tolist() if timed else None
    dataset = make_dataset(users, items, timestamps=times)

    codes = split_codes(dataset, rng, *shares)
    split = split_from_codes(dataset, codes)

    assert (split.train + split.val + split.test).nnz == len(users)
    for user in set(users):
        mine = codes[dataset.interactions.users == user]
        assert (mine == TRAIN).any()
        if len(mine) < 3:
            assert (mine == TRAIN).all()
        elif min(shares) > 0:
            assert {TRAIN, VAL, TEST} == set(mine.tolist())
        if times is not None:
            when = np.array(times)[dataset.interactions.users == user]
            assert when[mine == TRAIN].max() <= when[mine != TRAIN].min(initial=np.inf)


def test_history_is_ordered_by_time_and_restricted() -> None:
    """Each user's items stand oldest first, equal times in file order, and only the asked-for codes count."""
    dataset = make_dataset([1, 0, 1, 1, 0, 1], [5, 4, 3, 2, 1, 0], timestamps=[9, 1, 9, 2, 0, 3])
    codes = np.array([TRAIN, TRAIN, TRAIN, VAL, TRAIN, TEST], np.int8)

    indptr, indices = ordered_history(dataset, codes)
    every_indptr, every = ordered_history(dataset, codes, (TRAIN, VAL, TEST))

    assert (indptr.tolist(), indices.tolist()) == ([0, 2, 4], [1, 4, 5, 3])
    assert (every_indptr.tolist(), every.tolist()) == ([0, 2, 6], [1, 4, 2, 0, 5, 3])
    assert (indptr.dtype, indices.dtype) == (np.int64, np.int32)


def test_history_without_timestamps_follows_the_file() -> None:
    """A user without any kept interaction has an empty history."""
    dataset = make_dataset([2, 0, 2], [1, 1, 0])

    indptr, indices = ordered_history(dataset, np.array([TRAIN, DROPPED, TRAIN], np.int8))

    assert (indptr.tolist(), indices.tolist()) == ([0, 0, 0, 2], [1, 0])


def test_held_out_items_keep_only_their_test_interactions() -> None:
    """The new-items protocol drops what would make an item known before the test."""
    dataset = make_dataset([0, 1, 2, 3], [1, 1, 1, 0], split=[TRAIN, VAL, TEST, TRAIN])
    codes = split_codes(dataset, np.random.default_rng(0))

    held_out = hold_out_items(codes, dataset.interactions, np.array([1]))
    split = split_from_codes(dataset, held_out)

    assert held_out.tolist() == [DROPPED, DROPPED, TEST, TRAIN]
    assert codes.tolist() == [TRAIN, VAL, TEST, TRAIN]
    assert (split.train.nnz, split.val.nnz, split.test.nnz) == (1, 0, 1)


def test_new_items_are_those_of_the_protocol() -> None:
    """20 % of a permutation by generator 11, rounded down."""
    rows = new_item_rows(14)

    assert rows.tolist() == np.random.default_rng(11).permutation(14).tolist()[:2]
    assert len(new_item_rows(1425)) == 285
