"""Users encoded from histories: the manifest's rule, all users at once."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_store import HistoryRule, LeastSquaresRule
from training.foldin import fold_in


def csr(rows: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Histories as row pointers and item rows."""
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return indptr, np.array([item for row in rows for item in row], np.int32)


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 14), unique=True, max_size=15), max_size=10),
    alpha=st.floats(-1, 2),
    max_items=st.integers(1, 16),
    seed=st.integers(0, 99),
)
def test_fold_in_equals_the_rule_user_by_user(rows: list[list[int]], alpha: float, max_items: int, seed: int) -> None:
    """The online service encodes one history at a time by the same rule and must find the same numbers."""
    history = np.random.default_rng(seed).normal(size=(15, 4)).astype(np.float32)
    rule = HistoryRule(alpha, max_items)

    users = fold_in(*csr(rows), history, rule)

    assert users.shape == (len(rows), 4)
    assert users.dtype == np.float32
    for user, row in zip(users, rows, strict=True):
        np.testing.assert_allclose(user, rule.encode(history[np.array(row, np.int64)]), rtol=1e-6, atol=1e-12)


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 14), unique=True, max_size=15), max_size=10),
    d=st.integers(1, 6),
    ridge=st.floats(0, 1),
    max_items=st.integers(1, 16),
    seed=st.integers(0, 99),
)
@example(rows=[[], [3, 1], list(range(15)), [4, 2, 9, 0, 7, 8]], d=4, ridge=0.25, max_items=8, seed=0)
def test_fold_in_equals_the_regression_user_by_user(
    rows: list[list[int]], d: int, ridge: float, max_items: int, seed: int
) -> None:
    """So it does where the rule is a regression: no history, one shorter or longer than d, one above max_items."""
    rng = np.random.default_rng(seed)
    history = rng.normal(size=(15, d)).astype(np.float32)
    rule = LeastSquaresRule(tuple(rng.uniform(0.5, 2, d).tolist()), ridge, max_items)

    users = fold_in(*csr(rows), history, rule)

    assert users.shape == (len(rows), d)
    assert users.dtype == np.float32
    for user, row in zip(users, rows, strict=True):
        np.testing.assert_allclose(user, rule.encode(history[np.array(row, np.int64)]), rtol=1e-4, atol=1e-5)


def test_long_history_of_a_regression_is_regularised_for_what_is_kept() -> None:
    """With max_items 2 of 1, 10, 100 the later two remain, and two is what they are regularised for.

    110 / (3 + 2·0.5 + 100 + 10000); of 100 and 1 it is 101 / (3 + 2·0.5 + 10000 + 1). Nothing between them is zero.
    """
    history = np.array([[1], [10], [100]], np.float32)

    users = fold_in(*csr([[0, 1, 2], [], [2, 0]]), history, LeastSquaresRule((3.0,), ridge=0.5, max_items=2))

    assert users[:, 0].tolist() == pytest.approx([110 / 10_104, 0, 101 / 10_005])


def test_fold_in_of_a_hand_worked_user() -> None:
    """Three items at alpha 1/2: (1 + 2 + 6) / √3 = 5.19615; one item is itself."""
    history = np.array([[1], [2], [6]], np.float32)

    users = fold_in(*csr([[0, 1, 2], [2]]), history, HistoryRule(0.5))

    assert users[:, 0].tolist() == pytest.approx([9 / 3**0.5, 6])


def test_long_history_keeps_the_latest_items() -> None:
    """With max_items 2 of 0, 1, 2 the later two remain, and two is what they are divided by: (10 + 100) / 2."""
    history = np.array([[1], [10], [100]], np.float32)

    users = fold_in(*csr([[0, 1, 2], [2, 0]]), history, HistoryRule(alpha=1.0, max_items=2))

    assert users[:, 0].tolist() == [55, 50.5]


def test_user_without_history_is_zero() -> None:
    """Nothing known, nothing preferred; the neighbours are not disturbed."""
    history = np.array([[1, 2]], np.float32)

    users = fold_in(*csr([[], [0], []]), history, HistoryRule())

    assert users.tolist() == [[0, 0], [1, 2], [0, 0]]
