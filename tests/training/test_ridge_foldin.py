"""Users placed by ridge regression."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training import least_squares
from training.foldin import ridge_fold_in


def csr(*rows: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Histories as row pointers and item rows."""
    return np.cumsum([0, *map(len, rows)]).astype(np.int64), np.array([item for row in rows for item in row], np.int32)


def test_hand_worked_user() -> None:
    """Items 1 and 2 on one axis, history {2}, c = 3, ridge 0.2.

    ZᵀZ = 5, λ = 0.2 · 5 = 1; u = (1 + 3) · 2 / (5 + 3 · 4 + 1) = 8/18.
    """
    users = ridge_fold_in(*csr([1]), np.array([[1.0], [2.0]], np.float32), confidence=3.0, ridge=0.2)

    assert users.tolist() == [[pytest.approx(8 / 18)]]


def test_solution_minimises_the_stated_objective() -> None:
    """At the solution the objective's gradient vanishes, for every user."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(12, 4)).astype(np.float32)
    indptr, indices = csr([0, 3, 5], [], [11], list(range(12)))
    z, c, ridge = items.astype(np.float64), 4.0, 0.3

    users = ridge_fold_in(indptr, indices, items, confidence=c, ridge=ridge)

    for user, u in enumerate(users.astype(np.float64)):
        own = np.isin(np.arange(12), indices[indptr[user] : indptr[user + 1]])
        residual = (1 + c * own) * (z @ u - own)
        gradient = z.T @ residual + ridge * np.trace(z.T @ z) / 4 * u
        np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """White-box: two outer products at a time, or all at once, empty histories anywhere, a history above the limit."""
    items = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    histories = csr([], [0, 1], [], [2], [3, 4, 5, 6, 7, 8], [1], [], [])
    whole = ridge_fold_in(*histories, items)

    monkeypatch.setattr(least_squares, "_BLOCK_CELLS", 18)

    np.testing.assert_allclose(ridge_fold_in(*histories, items), whole, rtol=1e-6)
    assert whole.any(axis=1).tolist() == [False, True, False, True, True, True, False, False]


def test_scale_of_the_table_does_not_change_rankings() -> None:
    """A table ten times as long gives users a tenth as long: the same scores."""
    items = np.random.default_rng(2).normal(size=(9, 3)).astype(np.float32)
    histories = csr([0, 4], [8])

    one, other = ridge_fold_in(*histories, items), ridge_fold_in(*histories, 10 * items)

    np.testing.assert_allclose(one @ items.T, other @ (10 * items).T, rtol=1e-4, atol=1e-6)


def test_own_items_score_above_others() -> None:
    """The items of the history come first where the space has room for them."""
    items = np.eye(5, dtype=np.float32)

    scores = ridge_fold_in(*csr([1, 3]), items)[0] @ items.T

    assert set(np.argsort(-scores)[:2].tolist()) == {1, 3}


def test_without_items_or_histories_users_are_zero() -> None:
    """A table of zeros, or no history, knows nothing of a user."""
    assert not ridge_fold_in(*csr([0], []), np.zeros((2, 3), np.float32)).any()
    assert not ridge_fold_in(*csr([], []), np.ones((2, 3), np.float32)).any()
