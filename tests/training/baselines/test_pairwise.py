"""Training by pairs: what is sampled, what is propagated, when it stops."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.baselines import Fit, bpr, lightgcn, vbpr
from training.baselines.content import MeanImputation
from training.errors import NothingToLearn
from training.features import ModalityFeatures
from training.models.contract import TrainingData

MakeData = Callable[[list[list[int]], int], TrainingData]
HISTORIES = [[0, 1], [1, 2], [2, 1, 0], [2, 4], []]
N_ITEMS = 6  # items 3 and 5 have no interactions


def test_triples_are_all_interactions_with_items_never_had(make_data: MakeData) -> None:
    """Each interaction comes once; negatives are items of others, never those without interactions."""
    triples = list(bpr.triples(make_data(HISTORIES, N_ITEMS), np.random.default_rng(0)))
    users, positives, negatives = (np.concatenate(column) for column in zip(*triples, strict=True))

    pairs = sorted(zip(users.tolist(), positives.tolist(), strict=True))
    assert pairs == [(user, item) for user, history in enumerate(HISTORIES) for item in sorted(history)]
    assert not np.isin(negatives, [3, 5]).any()
    assert all(negative not in HISTORIES[user] for user, negative in zip(users, negatives, strict=True))


def test_triples_of_a_user_with_everything_end(make_data: MakeData) -> None:
    """Where there is no negative, one of the user's own is taken; it teaches nothing and hangs nothing."""
    triples = list(bpr.triples(make_data([[0, 1]], 2), np.random.default_rng(0)))

    assert sum(len(users) for users, _, _ in triples) == 2


def test_training_stops_at_the_best_validation(make_data: MakeData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is returned as it was when it validated best, and patience ends the run."""
    monkeypatch.setattr(bpr, "PATIENCE", 3)
    seen: list[np.ndarray] = []

    def validate(tables: object) -> float:
        seen.append(tables.users)  # type: ignore[attr-defined]
        return [0.1, 0.5, 0.4, 0.3, 0.2, 0.9][len(seen) - 1]

    model = lightgcn.fit(make_data(HISTORIES, N_ITEMS), validate, 0)

    assert len(seen) == 5
    np.testing.assert_array_equal(model.embeddings().users, seen[1])


@pytest.mark.parametrize("fit", [lightgcn.fit, lightgcn.fit_mean, vbpr.fit])
def test_training_on_nothing_is_refused(fit: Callable[..., object], make_data: MakeData) -> None:
    """No interactions, no pairs."""
    with pytest.raises(NothingToLearn):
        fit(make_data([[], []], 3), lambda _: 0.0, 0)


def test_lightgcn_is_the_mean_of_propagated_layers(make_data: MakeData) -> None:
    """(E + ÂE + Â²E + Â³E) / 4, written out densely; items without interactions have no embedding."""
    network = lightgcn.LightGCN(make_data(HISTORIES, N_ITEMS), seed=0, content=False)
    x = np.array([[item in history for item in range(N_ITEMS)] for history in HISTORIES], float)
    a = np.block([[np.zeros((5, 5)), x], [x.T, np.zeros((6, 6))]])
    scale = np.maximum(a.sum(axis=0), 1) ** -0.5
    a = scale[:, None] * a * scale
    with torch.no_grad():
        start = torch.cat([network.users, network.items]).numpy()
        start[[8, 10]] = 0
        users, items = network.tables()

    expected = sum(np.linalg.matrix_power(a, layer) for layer in range(4)) @ start / 4
    np.testing.assert_allclose(torch.cat([users, items]).numpy(), expected, atol=1e-6)


def test_vbpr_adds_factors_content_and_biases(make_data: MakeData) -> None:
    """β_i + ⟨γ_u, γ_i⟩ + ⟨θ_u, E f_i⟩; a new item has its content alone."""
    data = make_data(HISTORIES, N_ITEMS)
    network = vbpr.VBPR(data, seed=0)
    with torch.no_grad():
        network.bias += 0.7
        users, items = network.tables()
        f = torch.from_numpy(MeanImputation(data).fill(data.features))
        gamma, theta = network.users.split(bpr.D, dim=1)
        content = theta @ (f @ network.projection).T
        warm = torch.tensor([1.0, 1, 1, 0, 1, 0])
        expected = content + warm * (gamma @ network.items.T + 0.7)

    torch.testing.assert_close(users @ items.T, expected)


def test_mean_imputation_standardises_by_what_training_items_have(make_data: MakeData) -> None:
    """Statistics are of unit rows of items with interactions; absent means the mean, 0, as does what nobody has."""
    history = make_data([[0, 1]], 4)
    rows = np.array([[3, 0], [0, 2], [5, 5], [np.nan, np.nan]])
    nobody = ModalityFeatures.from_nan(np.full((4, 2), np.nan))
    features = {"image": ModalityFeatures.from_nan(rows), "text": nobody}
    data = TrainingData(features, history.indptr, history.indices, 4)

    filled = MeanImputation(data).fill(features)

    third = 2 * 0.5**0.5 - 1  # its unit row, less the mean 0.5, by the deviation 0.5
    expected = np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [third, third, 0, 0], [0, 0, 0, 0]]) / 2
    np.testing.assert_allclose(filled, expected, atol=1e-6)


def test_mean_imputation_takes_columns_in_any_unit(make_data: MakeData) -> None:
    """Beside a column of ones one of millionths counts as much."""
    history = make_data([[0, 1, 2]], 3)
    features = {"image": ModalityFeatures.from_nan(np.array([[1, 1e-6], [1, 3e-6], [1, 1e-6]], np.float32))}
    data = TrainingData(features, history.indptr, history.indices, 3)

    filled = MeanImputation(data).fill(features)

    root = 2**0.5  # 1, 3, 1 standardised are -1/√2, √2, -1/√2; over the square root of two columns
    np.testing.assert_allclose(filled[:, 1] * root, [-1 / root, root, -1 / root], rtol=1e-3)
    np.testing.assert_allclose(filled[:, 0], 0, atol=1e-6)


@pytest.mark.parametrize("fit", [vbpr.fit, lightgcn.fit, lightgcn.fit_mean])
def test_baselines_stay_on_the_cpu(make_data: MakeData, monkeypatch: pytest.MonkeyPatch, fit: Fit) -> None:
    """Where torch finds a GPU, too: what no --device can tell them is always the same."""
    monkeypatch.setattr(bpr, "EPOCHS", bpr.EVALUATE_EVERY)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    fitted = fit(make_data(HISTORIES, N_ITEMS), lambda _: 0.0, 0)

    assert isinstance(fitted, bpr.Pairwise)
    assert {p.device.type for p in fitted.network.parameters()} == {"cpu"}  # type: ignore[attr-defined]
