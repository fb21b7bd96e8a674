"""The content encoder of the default preset: its closed form, and what it sees of an item."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.errors import NotFinite
from training.features import ModalityFeatures
from training.models import i3mrec_encoder
from training.models.i3mrec_encoder import ContentEncoder, LinearSolver

N_ITEMS = 20


@pytest.fixture
def encoder() -> ContentEncoder:
    """An encoder of two modalities with parameters at random; its linear part is not solved."""
    rng = np.random.default_rng(0)
    features = {
        name: ModalityFeatures(rng.normal(size=(N_ITEMS, d_m)).astype(np.float32), np.ones(N_ITEMS, np.bool_))
        for name, d_m in (("image", 3), ("text", 4))
    }
    torch.manual_seed(0)
    return ContentEncoder(features, np.ones(N_ITEMS, np.bool_), d=5, hidden=6, evenness=0.0)


def content(rng: np.random.Generator) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Rows of two modalities with 2 columns each, a third of them absent."""
    rows = [torch.from_numpy(rng.normal(size=(N_ITEMS, 2)).astype(np.float32)) for _ in range(2)]
    return rows, torch.from_numpy(rng.random((N_ITEMS, 2)) < 0.7)


@given(seed=st.integers(0, 999), ridge=st.floats(0.01, 10))
def test_solver_solves_the_weighted_ridge_regression(seed: int, ridge: float) -> None:
    """As least squares with a row √λ e_j for each coefficient, the intercept's λ being 1e-3."""
    rng = np.random.default_rng(seed)
    rows, present = content(rng)
    y = rng.normal(size=(N_ITEMS, 3)).astype(np.float32)
    weights = rng.random(N_ITEMS) * (rng.random(N_ITEMS) < 0.8)

    solved = LinearSolver(rows, present, weights, ridge).solve(y)

    x = ContentEncoder.regressors(rows, present).numpy()
    root, penalty = np.sqrt(weights)[:, None], np.diag(np.sqrt([ridge] * 6 + [1e-3]))
    expected = np.linalg.lstsq(np.r_[root * x, penalty], np.r_[root * y, np.zeros((7, 3))], rcond=None)[0]
    np.testing.assert_allclose(solved, expected, rtol=1e-3, atol=1e-4)


def test_solver_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in pieces of 7 give what they give at once, for ever new targets; regressors are never more than a piece."""
    rng = np.random.default_rng(0)
    (rows, present), weights = content(rng), rng.random(N_ITEMS)
    targets = rng.normal(size=(2, N_ITEMS, 3)).astype(np.float32)
    whole = LinearSolver(rows, present, weights, 0.3)
    expected = [whole.solve(y) for y in targets]
    made, regressors = [], ContentEncoder.regressors

    def watched(rows: list[torch.Tensor], present: torch.Tensor) -> torch.Tensor:
        made.append(len(present))
        return regressors(rows, present)

    monkeypatch.setattr(i3mrec_encoder, "_BLOCK", 7)
    monkeypatch.setattr(ContentEncoder, "regressors", staticmethod(watched))
    pieces = LinearSolver(rows, present, weights, 0.3)

    for y, one in zip(targets, expected, strict=True):
        np.testing.assert_allclose(pieces.solve(y), one, rtol=1e-5, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    assert made == 3 * [7, 7, 6]


def test_rows_without_weight_have_no_say() -> None:
    """Whatever their features and targets."""
    rng = np.random.default_rng(0)
    (rows, present), y = content(rng), rng.normal(size=(N_ITEMS, 3)).astype(np.float32)
    weights = np.r_[np.zeros(5), rng.random(N_ITEMS - 5)]
    expected = LinearSolver([x[5:] for x in rows], present[5:], weights[5:], 0.3).solve(y[5:])

    np.testing.assert_allclose(LinearSolver(rows, present, weights, 0.3).solve(y), expected, rtol=1e-5, atol=1e-6)


def test_rows_are_of_unit_norm_and_zero_where_absent(encoder: ContentEncoder) -> None:
    """Direction is what counts of a feature row; the regressors are the rows, what is present, and 1."""
    torch.manual_seed(1)
    features = [5 * torch.randn(4, 3), 0.1 * torch.randn(4, 4)]
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])

    rows = encoder.rows(features, present)
    seen = encoder.regressors(rows, present)

    norms = torch.stack([row.norm(dim=1) for row in rows], dim=1)
    np.testing.assert_allclose(norms, present.float(), atol=1e-6)
    assert torch.equal(seen[:, 7:], torch.cat([present.float(), torch.ones(4, 1)], dim=1))
    assert torch.equal(seen[:, :7], torch.cat(rows, dim=1))


def test_code_is_the_mean_of_both_estimates_scaled(encoder: ContentEncoder) -> None:
    """``spread · ½ (linear + product of experts)``; the embedding is the gain times that, the history row is not.

    Confidence follows from the distance to the code of an item without anything.
    """
    torch.manual_seed(1)
    features, present = [torch.randn(4, 3), torch.randn(4, 4)], torch.tensor([[True, True], [True, False]] * 2)
    with torch.no_grad():
        encoder.linear.copy_(torch.randn(10, 5))
        encoder.spread.fill_(3.0)
        encoder.new_item_gain.fill_(2.0)
        encoder.confidence_scale.fill_(4.0)
        encoder.confidence_ceiling.fill_(0.9)
        rows = encoder.rows(features, present)
        fused = encoder.fuse(encoder.experts(rows), present)
        linear = encoder.regressors(rows, present) @ encoder.linear

        embedding, history, confidence = encoder(*features, present)
        unknown = encoder(*features, torch.zeros(4, 2, dtype=torch.bool))[1]

    np.testing.assert_allclose(history, 3 * (linear + fused.mean) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(embedding, 2 * history, rtol=1e-6)
    distances = (history - unknown).norm(dim=1)
    np.testing.assert_allclose(confidence, 0.9 * (1 - torch.exp(-((distances / 4) ** 2))), rtol=1e-4)


@given(evenness=st.floats(0, 1), gain=st.floats(0.5, 4))
def test_evenness_brings_norms_together(evenness: float, gain: float) -> None:
    """Codes of norms 1, 2 and 8 where known items have 2: their ratio to it shrinks to that power of 1 - evenness."""
    encoder = ContentEncoder({}, np.ones(1, np.bool_), d=4, hidden=2, evenness=evenness)
    codes = torch.tensor([[1.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, -8.0, 0], [0, 0, 0, 0]])
    with torch.no_grad():
        encoder.norm.fill_(2.0)
        encoder.new_item_gain.fill_(gain)

        placed = encoder.place(codes)

    expected = gain * 2 * np.array([0.5, 1, 4]) ** (1 - evenness)
    np.testing.assert_allclose(placed[:3].norm(dim=1), expected, rtol=1e-5)
    assert torch.equal(placed[:3].sign(), codes[:3].sign())
    assert not placed[3].any()


def test_nothing_present_gives_no_confidence_to_the_bit(encoder: ContentEncoder) -> None:
    """Whatever the code; and the unknown item's code is the one it gets."""
    with torch.no_grad():
        encoder.linear.copy_(torch.randn(10, 5))
        features, absent = [torch.randn(3, 3), torch.randn(3, 4)], torch.zeros(3, 2, dtype=torch.bool)

        _, code, confidence = encoder(*features, absent)

        np.testing.assert_allclose(code, encoder.unknown().expand(3, -1), rtol=1e-6)
        assert confidence.tolist() == [0, 0, 0]
        assert encoder.confidence(code + 5, absent).tolist() == [0, 0, 0]


def test_shares_weigh_the_experts(encoder: ContentEncoder) -> None:
    """A share of 1 each is no share; (1, 0) is the first modality alone; absent ones stay absent."""
    torch.manual_seed(1)
    present = torch.tensor([[True, True], [False, True]])
    with torch.no_grad():
        experts = encoder.experts(encoder.rows([torch.randn(2, 3), torch.randn(2, 4)], present))

        alike = encoder.fuse(experts, present, torch.ones(2))
        first = encoder.fuse(experts, present, torch.tensor([1.0, 0.0]))

        assert torch.equal(alike.mean, encoder.fuse(experts, present).mean)
        alone = encoder.fuse(experts, present & torch.tensor([True, False]))
        assert torch.equal(first.mean, alone.mean)
        assert not torch.equal(first.mean, alike.mean)


def test_solver_without_a_solution_says_what_to_change() -> None:
    """Two regressors that are one, and nothing that tells them apart."""
    rows, present = [torch.full((N_ITEMS, 2), 1e8)], torch.ones(N_ITEMS, 1, dtype=torch.bool)

    with pytest.raises(NotFinite, match=r"linear prediction: .*; try a larger --content-ridge"):
        LinearSolver(rows, present, np.ones(N_ITEMS), 1e-9).solve(np.ones((N_ITEMS, 2), np.float32))
