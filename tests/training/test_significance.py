"""Intervals of differences over users."""

import numpy as np
import pytest

from training.significance import paired_bootstrap


def test_identical_models_differ_by_nothing() -> None:
    """Whoever is drawn, the difference is 0: an interval of no width at 0, which holds 0."""
    values = np.random.default_rng(0).random(50)

    interval = paired_bootstrap(values, values)

    assert (interval.difference, interval.low, interval.high) == (0, 0, 0)


def test_a_clear_winner_excludes_zero_on_either_side() -> None:
    """Better for each of 100 users; seen from the other side the interval is mirrored."""
    rng = np.random.default_rng(0)
    worse = rng.random(100)
    better = worse + 0.1 + 0.1 * rng.random(100)

    ahead, behind = paired_bootstrap(better, worse), paired_bootstrap(worse, better)

    assert 0.1 < ahead.low < ahead.difference < ahead.high < 0.2
    assert (behind.low, behind.high) == pytest.approx((-ahead.high, -ahead.low))


def test_noise_does_not_exclude_zero() -> None:
    """Two users who disagree prove nothing."""
    interval = paired_bootstrap(np.array([1.0, 0.0]), np.array([0.0, 1.0]))

    assert (interval.difference, interval.low, interval.high) == (0, -1, 1)


def test_pairs_stay_together() -> None:
    """A constant gain of 0.01 beside users between 0 and 1: exact when paired, hopeless when the pairs are torn."""
    rng = np.random.default_rng(0)
    values = rng.random(200)

    paired = paired_bootstrap(values + 0.01, values)
    torn = paired_bootstrap(values + 0.01, rng.permutation(values))

    assert (paired.low, paired.high) == pytest.approx((0.01, 0.01))
    assert torn.low < 0 < torn.high


def test_width_is_that_of_the_normal_approximation() -> None:
    """1,000 differences of standard deviation s: about ±1.96 s / √1000."""
    differences = np.random.default_rng(0).normal(size=1000)

    interval = paired_bootstrap(differences, np.zeros(1000))

    expected = 1.96 * differences.std() / np.sqrt(1000)
    assert interval.high - interval.difference == pytest.approx(expected, rel=0.1)
    assert interval.difference - interval.low == pytest.approx(expected, rel=0.1)


def test_the_same_numbers_give_the_same_interval() -> None:
    """The draws are fixed, and how many are held at once does not show in the shape of the result."""
    one, other = np.random.default_rng(0).random((2, 3000))

    assert paired_bootstrap(one, other) == paired_bootstrap(one, other)


@pytest.mark.parametrize(("one", "other"), [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_arrays_that_do_not_match_are_refused(one: list[float], other: list[float]) -> None:
    """Users of one model against other users, nobody, or tables."""
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        paired_bootstrap(np.array(one), np.array(other))
