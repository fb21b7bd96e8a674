"""Batches of pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import NothingToLearn
from training.sampling import PairSampler

N_ITEMS = 30
histories = st.lists(st.lists(st.integers(0, 19), unique=True, max_size=8), min_size=1, max_size=20).filter(any)


def make_sampler(rows: list[list[int]], batch_pairs: int = 7) -> PairSampler:
    """A sampler over histories of a catalogue of 30."""
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return PairSampler(
        indptr, np.array([item for row in rows for item in row], np.int32), N_ITEMS, batch_pairs=batch_pairs
    )


@settings(deadline=None)
@given(histories, st.integers(0, 5))
def test_epoch_is_every_interaction_once(rows: list[list[int]], seed: int) -> None:
    """Users and positives are the interactions in another order; negatives are warm items."""
    batches = list(make_sampler(rows).epoch(np.random.default_rng(seed)))

    pairs = [pair for b in batches for pair in zip(b.users.tolist(), b.positives.tolist(), strict=True)]
    assert sorted(pairs) == sorted((user, item) for user, items in enumerate(rows) for item in items)
    assert {int(item) for b in batches for item in b.negatives} <= {item for row in rows for item in row}
    assert all(0 < len(b.users) == len(b.positives) == len(b.negatives) <= 7 for b in batches)


def test_negatives_are_not_the_users_own() -> None:
    """With half of the items a user's own, redraws find the other half."""
    rows = [list(range(0, 20, 2)), list(range(1, 20, 2))] * 40

    for batch in make_sampler(rows, 100).epoch(np.random.default_rng(0)):
        assert ((batch.negatives % 2) != (batch.users % 2)).all()


def test_negatives_are_uniform_over_what_is_left() -> None:
    """One user has item 0, another one items 1 to 4: the first one's negatives are 1 to 4 alike often."""
    rows = [[0]] * 4000 + [[1, 2, 3, 4]]

    negatives = np.concatenate(
        [b.negatives[b.users < 4000] for b in make_sampler(rows).epoch(np.random.default_rng(0))]
    )

    counts = np.bincount(negatives, minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 900


def test_user_with_everything_still_gets_a_negative() -> None:
    """There is no other item: the negative is the user's own, rather than none."""
    batches = list(make_sampler([[0, 1, 2]]).epoch(np.random.default_rng(0)))

    assert sum(len(b.negatives) for b in batches) == 3


def test_small_data_still_makes_several_steps() -> None:
    """Sixteen interactions are eight batches of two, whatever the wish."""
    assert len(list(make_sampler([list(range(16))], 2048).epoch(np.random.default_rng(0)))) == 8


def test_nothing_to_learn_is_refused() -> None:
    """Without interactions there are no pairs."""
    with pytest.raises(NothingToLearn, match="at least one training interaction"):
        make_sampler([[], []])
