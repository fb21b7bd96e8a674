"""Batches of users: what is given, what is predicted, and what competes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.errors import NothingToLearn
from training.sampling import Batch, UserSampler, gather_rows

Histories = list[list[int]]
N_ITEMS = 25

histories = st.lists(st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=12), min_size=1, max_size=40)
teachable = histories.filter(lambda rows: any(len(row) >= 2 for row in rows))


def csr(rows: Histories) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Histories as row pointers and item rows."""
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return indptr, np.array([item for row in rows for item in row], np.int32)


def make_sampler(
    rows: Histories, batch_users: int = 4, candidates: int = 10, history_dropout: float = 0.5
) -> UserSampler:
    """A sampler over histories, its population the items that occur in them."""
    indptr, indices = csr(rows)
    return UserSampler(
        indptr,
        indices,
        np.unique(indices).astype(np.int64),
        batch_users=batch_users,
        candidates=candidates,
        history_dropout=history_dropout,
    )


def parts(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Given and predicted item rows of each user of a batch, in order."""
    given_rows = batch.candidates[batch.history_items]
    predicted = batch.candidates[batch.target_items]
    return [
        (given_rows[batch.history_users == user].tolist(), predicted[batch.target_users == user].tolist())
        for user in range(batch.n_users)
    ]


@settings(deadline=None)
@given(rows=teachable, dropout=st.floats(0, 1), candidates=st.integers(1, 30), seed=st.integers(0, 999))
def test_each_user_is_split_once_an_epoch(rows: Histories, dropout: float, candidates: int, seed: int) -> None:
    """Each user with two items appears once, with one or more items of either kind that together are the history."""
    sampler = make_sampler(rows, candidates=candidates, history_dropout=dropout)

    split = [part for batch in sampler.epoch(np.random.default_rng(seed)) for part in parts(batch)]

    assert all(given_items and predicted for given_items, predicted in split)
    whole = sorted(sorted(given_items + predicted) for given_items, predicted in split)
    assert whole == sorted(sorted(row) for row in rows if len(row) >= 2)


@settings(deadline=None)
@given(rows=teachable, candidates=st.integers(1, 30), seed=st.integers(0, 999))
def test_candidates_hold_the_sample_and_the_batchs_items(rows: Histories, candidates: int, seed: int) -> None:
    """They ascend, lie in the population, hold each item of the batch, and as many are sampled as asked for."""
    population = set().union(*rows)
    sampler = make_sampler(rows, candidates=candidates)

    for batch in sampler.epoch(np.random.default_rng(seed)):
        chosen = batch.candidates.tolist()
        needed = {item for given_items, predicted in parts(batch) for item in given_items + predicted}
        assert chosen == sorted(set(chosen))
        assert needed <= set(chosen) <= population
        assert batch.sampled.sum() == min(candidates, len(population))
        assert set(batch.candidates[~batch.sampled].tolist()) <= needed
        assert batch.n_population == len(population)


@settings(deadline=None)
@given(rows=teachable, batch_users=st.integers(1, 10), seed=st.integers(0, 999))
def test_batches_are_of_the_asked_for_size(rows: Histories, batch_users: int, seed: int) -> None:
    """All but the last are full, none above an eighth of the users, rounded up."""
    n_users = sum(len(row) >= 2 for row in rows)
    size = min(batch_users, -(-n_users // 8))
    sampler = make_sampler(rows, batch_users=batch_users)

    sizes = [batch.n_users for batch in sampler.epoch(np.random.default_rng(seed))]

    assert sizes[:-1] == [size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= size


@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5, 1.0])
def test_predicted_share_follows_the_dropout(dropout: float) -> None:
    """Of 100 items 1 to 99 are predicted: the extremes keep one of either kind.

    800 users have 80,000 items, so a standard error is at most 0.5/√80000 = 0.0018.
    """
    sampler = make_sampler([list(range(100))] * 800, batch_users=800, candidates=1000, history_dropout=dropout)

    split = [part for batch in sampler.epoch(np.random.default_rng(0)) for part in parts(batch)]

    share = sum(len(predicted) for _, predicted in split) / 80_000
    assert share == pytest.approx(min(max(dropout, 0.01), 0.99), abs=0.01)


def test_split_is_drawn_anew_each_epoch() -> None:
    """Users are shuffled and split otherwise in the next epoch; the same generator state repeats them."""
    sampler = make_sampler([list(range(n, n + 8)) for n in range(10)])
    rng = np.random.default_rng(0)

    first, second = ([parts(batch) for batch in sampler.epoch(rng)] for _ in range(2))
    again = [parts(batch) for batch in sampler.epoch(np.random.default_rng(0))]

    assert first != second
    assert first == again


def test_users_are_shuffled_each_epoch() -> None:
    """Of 40 users, told apart by their first item, no epoch walks in the order of rows or of another epoch."""
    sampler = make_sampler([[user, 40] for user in range(40)], batch_users=1)
    rng = np.random.default_rng(0)

    walks = [
        [min(given_items + predicted) for batch in sampler.epoch(rng) for given_items, predicted in parts(batch)]
        for _ in range(3)
    ]

    assert all(sorted(walk) == list(range(40)) for walk in walks)
    assert len({tuple(walk) for walk in [*walks, list(range(40))]}) == 4


def test_every_item_of_the_population_is_sampled_equally_often() -> None:
    """5 of 20 items: in 800 batches 200 times each, give or take five deviations of √(800·¼·¾) = 12.2."""
    sampler = make_sampler([list(range(20))] * 8, batch_users=1, candidates=5)
    rng = np.random.default_rng(0)
    counts = np.zeros(20, int)

    for _ in range(100):
        for batch in sampler.epoch(rng):
            counts[batch.candidates[batch.sampled]] += 1

    assert counts.sum() == 5 * 800
    assert np.abs(counts - 200).max() < 62


def test_small_population_competes_whole() -> None:
    """Where all items fit, all are candidates and all count as sampled."""
    sampler = make_sampler([[3, 7], [7, 9, 11]], candidates=4)

    for batch in sampler.epoch(np.random.default_rng(0)):
        assert batch.candidates.tolist() == [3, 7, 9, 11]
        assert batch.sampled.all()


@pytest.mark.parametrize("rows", [[[]], [[1], [2], []], [[5]]])
def test_nobody_with_two_interactions_is_refused(rows: Histories) -> None:
    """One interaction gives nothing to predict from."""
    with pytest.raises(NothingToLearn, match="expected at least one user with two training interactions, found none"):
        make_sampler(rows)


@settings(deadline=None)
@given(rows=histories, data=st.data())
def test_gathered_rows_equal_a_loop(rows: Histories, data: st.DataObject) -> None:
    """Any rows, in any order, repeated or empty."""
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20))

    owner, items = gather_rows(*csr(rows), np.array(chosen, np.int64))

    expected = [(place, item) for place, row in enumerate(chosen) for item in rows[row]]
    assert list(zip(owner.tolist(), items.tolist(), strict=True)) == expected
    assert (owner.dtype, items.dtype) == (np.int64, np.int64)
