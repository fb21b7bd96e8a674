"""Confidence: the curve, what it is calibrated by, and how it is fitted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.confidence import Confidence, agreement, calibrated_confidence, sampled

SIX_USERS = np.array([[6.0], [5.0], [4.0], [3.0], [2.0], [1.0]], np.float32)
ALIKE = np.ones(6, np.int64)


def clicked(*users: int) -> csr_matrix:
    """Six users, one item that these have clicked."""
    matrix = np.zeros((6, 1), np.float32)
    matrix[list(users)] = 1
    return csr_matrix(matrix)


def risen(curve: Confidence, distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a curve says at these distances."""
    return np.asarray(curve.ceiling * (1 - np.exp(-((distances / curve.scale) ** 2))))


def test_agreement_is_twice_the_auc_less_one() -> None:
    """Fans first 1, fans last -1; of fans in places 1 and 4 of six, 6 of 8 pairs are in order."""
    one = np.ones((1, 1), np.float32)

    assert agreement(SIX_USERS, one, clicked(0, 1), ALIKE).tolist() == [1]
    assert agreement(SIX_USERS, -one, clicked(0, 1), ALIKE).tolist() == [-1]
    assert agreement(SIX_USERS, one, clicked(0, 3), ALIKE).tolist() == [0.5]


def test_ties_count_half() -> None:
    """An item that scores all users alike says nothing."""
    assert agreement(SIX_USERS, np.zeros((1, 1), np.float32), clicked(0, 4), ALIKE).tolist() == [0]


def test_others_count_by_their_activity() -> None:
    """With the fan in place 2 the user before it has 3 of the others' 7 clicks: 4/7 - 3/7."""
    activity = np.array([3, 50, 1, 1, 1, 1])

    found = agreement(SIX_USERS, np.ones((1, 1), np.float32), clicked(1), activity)

    assert found.tolist() == [pytest.approx(1 / 7)]


def test_item_without_a_click_tells_nothing() -> None:
    """NaN; and where everybody clicked there is no one to be told apart."""
    one = np.ones((1, 1), np.float32)

    assert np.isnan(agreement(SIX_USERS, one, clicked(), ALIKE)).tolist() == [True]
    assert agreement(SIX_USERS, one, clicked(*range(6)), ALIKE).tolist() == [0]


@given(scale=st.floats(0.1, 2), ceiling=st.floats(0.2, 1), seed=st.integers(0, 99))
def test_calibration_finds_the_curve(scale: float, ceiling: float, seed: int) -> None:
    """What was made by a curve with some noise is fitted by one close to it, in any unit of length."""
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, 3, 500)
    truth = Confidence(scale, ceiling)
    found = risen(truth, distances) + rng.normal(scale=0.02, size=500)

    fitted = calibrated_confidence(distances, found, np.ones(500), unit=1.0)
    in_metres = calibrated_confidence(1000 * distances, found, np.ones(500), unit=1000.0)

    np.testing.assert_allclose(risen(fitted, distances), risen(truth, distances), atol=0.05)
    assert in_metres.scale == pytest.approx(1000 * fitted.scale)


def test_weights_count() -> None:
    """Items that were clicked more have more say."""
    distances, found = np.full(2, 1.0), np.array([0.2, 0.8])

    fitted = calibrated_confidence(distances, found, np.array([3.0, 1.0]), unit=1.0)

    assert risen(fitted, distances)[0] == pytest.approx((3 * 0.2 + 0.8) / 4)


def test_content_that_misleads_is_not_trusted() -> None:
    """Agreement below zero makes a ceiling of 0, not a negative one."""
    fitted = calibrated_confidence(np.array([0.5, 1.0]), np.array([-0.3, -0.1]), np.ones(2), unit=1.0)

    assert fitted.ceiling == 0


def test_sample_has_clicked_items_only() -> None:
    """All users and all items with a click, where they are few."""
    clicks = csr_matrix(np.array([[1, 0, 0, 1], [0, 0, 0, 1]], np.float32))

    users, items = sampled(clicks, np.random.default_rng(0))

    assert users.tolist() == [0, 1]
    assert items.tolist() == [0, 3]


def test_sample_is_bounded() -> None:
    """Of a large catalogue no more is looked at than tells; in the order of rows and each once."""
    rng = np.random.default_rng(0)
    clicks = csr_matrix((np.ones(60_000, np.float32), (np.arange(60_000) % 30_000, rng.integers(0, 3_000, 60_000))))

    users, items = sampled(clicks, rng)

    assert (len(users), len(items)) == (20_000, 1_000)
    assert (np.diff(users) > 0).all()
    assert (np.diff(items) > 0).all()
