"""iALS, its tower and the spectral form against dense algebra."""

from collections.abc import Callable

import numpy as np
import pytest

from training.baselines import ials, ials_tower, spectral
from training.graph import interaction_matrix
from training.models.contract import TrainingData

MakeData = Callable[[list[list[int]], int], TrainingData]
HISTORIES = [[0, 1], [1, 2, 3, 4, 5], [2, 1, 0], [2], [], [5, 0, 4]]
N_ITEMS = 7  # item 6 has no interactions


@pytest.mark.parametrize("d", [2, 4, 9])
def test_half_step_solves_the_normal_equations(make_data: MakeData, d: int) -> None:
    """Each user's row is the dense ridge regression, whether the history is longer than d or shorter."""
    data = make_data(HISTORIES, N_ITEMS)
    items = np.random.default_rng(1).normal(size=(N_ITEMS, d)).astype(np.float32)
    penalty = ials.Penalty(unobserved=0.2, ridge=0.3)
    interactions = interaction_matrix(data.indptr, data.indices, N_ITEMS)

    users = ials.half_step(interactions, items, penalty)

    for user, history in enumerate(HISTORIES):
        strength = 0.3 * (len(history) + 0.2 * N_ITEMS)
        matrix = items[history].T @ items[history] + 0.2 * items.T @ items + strength * np.eye(d)
        np.testing.assert_allclose(users[user], np.linalg.solve(matrix, items[history].sum(axis=0)), atol=1e-5)


def test_ials_lowers_its_objective(make_data: MakeData) -> None:
    """More sweeps, less of what is minimised; and items without interactions stay at zero."""
    data = make_data(HISTORIES, N_ITEMS)
    penalty = ials.Penalty(unobserved=0.1, ridge=0.05)
    x = interaction_matrix(data.indptr, data.indices, N_ITEMS).toarray()

    def objective(sweeps: int) -> float:
        users, items, _ = ials.factorise(data, penalty, seed=0, d=3, sweeps=sweeps).embeddings()
        scores = users @ items.T
        user_ridges = 0.05 * (x.sum(axis=1) + 0.1 * N_ITEMS)
        item_ridges = 0.05 * (x.sum(axis=0) + 0.1 * len(x))
        size = user_ridges @ (users**2).sum(axis=1) + item_ridges @ (items**2).sum(axis=1)
        return float((x * (scores - 1) ** 2).sum() + 0.1 * (scores**2).sum() + size)

    assert objective(0) > objective(1) > objective(8)
    assert not ials.factorise(data, penalty, seed=0, d=3).items[6].any()


def test_leave_one_out_agrees_with_leaving_rows_out() -> None:
    """The closed form predicts what a regression without the row does."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)).astype(np.float32), rng.normal(size=(12, 2)).astype(np.float32)
    rest = [np.arange(12) != row for row in range(12)]
    expected = [x[row] @ ials_tower.ridge_regression(x[others], y[others], 0.5) for row, others in enumerate(rest)]

    np.testing.assert_allclose(ials_tower.leave_one_out(x, y, 0.5), expected, rtol=1e-4, atol=1e-5)


def test_tower_standardises_scores_of_new_items(make_data: MakeData) -> None:
    """Each user's scores of new items have the mean and spread of the others; those of known items are iALS's."""
    data = make_data([[0, 1, 2], [2, 3], [4, 5, 0], [1, 5]], 10)
    tower = ials_tower.fit(data, lambda _: 0.0, 0)

    tables = tower.embeddings()

    scores = (tables.users @ tables.items.T).astype(np.float64)
    base = tower.base.embeddings()
    np.testing.assert_allclose(scores[:, :6], (base.users @ base.items.T)[:, :6], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores[:, 6:].mean(axis=1), scores[:, :6].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(scores[:, 6:].std(axis=1), scores[:, :6].std(axis=1), rtol=1e-3)


def test_spectral_is_the_truncated_svd(make_data: MakeData) -> None:
    """Scores are D_u^-α R D_i^-½ V Vᵀ D_i^½ with V of a dense SVD."""
    data = make_data(HISTORIES, N_ITEMS)
    x = interaction_matrix(data.indptr, data.indices, N_ITEMS).toarray().astype(np.float64)
    lengths, degrees = np.maximum(x.sum(axis=1), 1), np.maximum(x.sum(axis=0), 1)
    scaled = lengths[:, None] ** -0.3 * x * degrees**-0.5
    v = np.linalg.svd(scaled)[2][:3].T

    model = spectral.spectral(data, spectral.singular_vectors(data, 0.3, 3, seed=0), alpha=0.3)

    users, items, _ = model.embeddings()
    np.testing.assert_allclose(users @ items.T, scaled @ v @ v.T * degrees**0.5 * (x.sum(axis=0) > 0), atol=1e-5)


def test_any_seed_can_be_decomposed_with(make_data: MakeData) -> None:
    """scikit-learn knows none beyond 32 bits."""
    data = make_data(HISTORIES, N_ITEMS)

    assert spectral.singular_vectors(data, 0.3, 2, seed=2**40).shape == (N_ITEMS, 2)
