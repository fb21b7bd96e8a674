"""The factors of the default preset: each half-step solves the regression it stands for."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.config import TrainConfig
from training.errors import NotFinite
from training.models.contract import TrainingData
from training.models.i3mrec_factors import Factorisation

N_USERS, N_ITEMS, D = 15, 9, 4
Table = NDArray[np.float32]

seeds = st.integers(0, 999)


def random_clicks(seed: int) -> NDArray[np.bool_]:
    """Clicks (n_users, n_items), ever fewer from item to item; the last user and the last item have none."""
    rng = np.random.default_rng(seed)
    clicks = rng.random((N_USERS, N_ITEMS)) < np.linspace(0.9, 0.2, N_ITEMS)
    clicks[:, -1] = clicks[-1] = False
    clicks[0, 0] = True
    return clicks


def factorisation(clicks: NDArray[np.bool_], **options: float) -> Factorisation:
    """The factorisation of these clicks."""
    indptr = np.concatenate([[0], np.cumsum(clicks.sum(axis=1))]).astype(np.int64)
    data = TrainingData({}, indptr, np.nonzero(clicks)[1].astype(np.int32), N_ITEMS)
    return Factorisation(data, TrainConfig(**({"d": D, "sweeps": 4, "unobserved": 5.0, "ridge": 0.1} | options)))


def normal(seed: int, *shape: int) -> Table:
    """A table of noise."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def regressed(clicks: NDArray[np.bool_], others: Table, ridge: float, prior: Table | float = 0.0) -> Table:
    """One row by its normal equations: 1 for what was clicked, α₀ = 5 / n_items for all, a ridge about the prior."""
    own, shared = others[clicks].astype(np.float64), others.astype(np.float64)
    system = own.T @ own + 5 / N_ITEMS * shared.T @ shared + ridge * np.eye(D)
    return np.linalg.solve(system, own.sum(axis=0) + ridge * prior)


@given(seed=seeds, weight=st.floats(0, 1))
def test_items_solve_their_regression_about_the_content(seed: int, weight: float) -> None:
    """With ν = 0, λ_i = 0.1 (|U(i)| + α₀ n_users), and the prior mean is ``content_weight · content``."""
    clicks, users, content = random_clicks(seed), normal(seed, N_USERS, D), normal(seed + 1, N_ITEMS, D)
    model = factorisation(clicks, content_weight=weight, popularity_exponent=0.0)

    items = model.items(users, content)

    for row in np.flatnonzero(clicks.any(axis=0)):
        ridge = 0.1 * (clicks[:, row].sum() + 5 / N_ITEMS * N_USERS)
        expected = regressed(clicks[:, row], users, ridge, weight * content[row])
        np.testing.assert_allclose(items[row], expected, rtol=1e-3, atol=1e-4)


@given(seed=seeds)
def test_users_solve_their_regression(seed: int) -> None:
    """λ_u = 0.1 (|H(u)| + 5), about zero; nobody's history gives a zero row."""
    clicks, items = random_clicks(seed), normal(seed, N_ITEMS, D)

    users = factorisation(clicks).users(items)

    for row, history in enumerate(clicks):
        expected = regressed(history, items, 0.1 * (history.sum() + 5))
        np.testing.assert_allclose(users[row], expected, rtol=1e-3, atol=1e-4)
    assert not users[-1].any()


@given(seed=seeds)
def test_without_content_the_prior_is_zero(seed: int) -> None:
    """No prediction is one of zeros; items without clicks have zero rows whatever content says of them."""
    clicks, users = random_clicks(seed), normal(seed, N_USERS, D)
    model = factorisation(clicks)

    nothing, zeros = model.items(users, None), model.items(users, np.zeros((N_ITEMS, D), np.float32))

    np.testing.assert_allclose(nothing, zeros, rtol=1e-5, atol=1e-6)
    assert not model.items(users, normal(seed, N_ITEMS, D))[-1].any()


def ridges(clicks: NDArray[np.bool_], exponent: float) -> NDArray[np.float64]:
    """λ_i of items that all have clicks, read off solutions: what is left of the equations is λ times the solution."""
    users = normal(0, N_USERS, D)
    items = factorisation(clicks, popularity_exponent=exponent).items(users, None).astype(np.float64)
    rest = [
        users[own].sum(axis=0) - (users[own].T @ users[own]) @ row for own, row in zip(clicks.T, items, strict=True)
    ]
    rest = np.array(rest) - 5 / N_ITEMS * items @ (users.T @ users)
    return ((rest * items).sum(axis=1) / np.square(items).sum(axis=1)).astype(np.float64)


@pytest.mark.parametrize("exponent", [0.35, 1.0])
def test_popularity_exponent_ties_popular_items_closer(exponent: float) -> None:
    """Against ν = 0 ridges grow by |U(i)|^ν, times one number that keeps the mean of 1 / growth over clicks at 1."""
    clicks = random_clicks(0)
    clicks[:3, -1] = True
    counts = clicks.sum(axis=0)

    growth = ridges(clicks, exponent) / ridges(clicks, 0.0)

    assert counts.max() >= 4 * counts.min() > 0
    np.testing.assert_allclose(growth / growth[0], (counts / counts[0]) ** exponent, rtol=1e-2)
    assert np.average(1 / growth, weights=counts) == pytest.approx(1, rel=1e-2)


@given(seed=seeds, max_history=st.sampled_from([2, 1000]))
def test_rule_is_the_users_half_step_in_the_axes_of_solve(seed: int, max_history: int) -> None:
    """Encoded one by one from their clicks, users are the rows of the half-step, where nothing of them is cut off."""
    clicks = random_clicks(seed)
    model = factorisation(clicks, max_history=max_history)
    items = model.solve(np.zeros_like, np.random.default_rng(seed))

    users, rule = model.users(items), model.rule(items)

    assert rule.max_items == max_history
    for row, history in zip(users, clicks, strict=True):
        if history.sum() <= max_history:
            np.testing.assert_allclose(rule.encode(items[history]), row, rtol=1e-3, atol=1e-4)
    shared = items.T @ items
    np.testing.assert_allclose(shared, np.diag(np.diag(shared)), atol=1e-4 * np.abs(shared).max())


def test_half_of_the_sweeps_know_content() -> None:
    """Content is asked for in the later sweeps only, each time about the factors of the sweep before; never without."""
    clicks = random_clicks(0)

    def asked(sweeps: int) -> list[Table]:
        given_items: list[Table] = []

        def predict(items: Table) -> Table:
            given_items.append(items)
            return np.zeros_like(items)

        factorisation(clicks, sweeps=sweeps).solve(predict, np.random.default_rng(0))
        return given_items

    assert [len(asked(sweeps)) for sweeps in (1, 2, 3, 4, 8)] == [0, 1, 1, 2, 4]
    assert all(items[:-1].any(axis=1).all() and not items[-1].any() for items in asked(8))


def test_content_draws_factors_towards_it() -> None:
    """With a full content weight, factors end nearer to what content says than without."""
    clicks, direction = random_clicks(0), normal(1, D)

    def predict(_: Table) -> Table:
        return np.tile(direction / np.linalg.norm(direction), (N_ITEMS, 1))

    def spread(weight: float, predict: Callable[[Table], Table]) -> float:
        items = factorisation(clicks, content_weight=weight, ridge=2.0).solve(predict, np.random.default_rng(0))[:-1]
        return float(items.std(axis=0).mean() / np.linalg.norm(items, axis=1).mean())

    assert spread(1.0, predict) < 0.5 * spread(0.0, predict)


@pytest.mark.parametrize("side", ["users", "items"])
def test_half_steps_without_a_solution_say_what_to_change(side: str) -> None:
    """Rows whose products are beyond float32."""
    model = factorisation(random_clicks(0))
    rows = np.full((N_ITEMS if side == "users" else N_USERS, D), 1e30, np.float32)

    with pytest.raises(NotFinite, match="try a larger --ridge or --unobserved, or a smaller --popularity-exponent"):
        model.users(rows) if side == "users" else model.items(rows, None)
