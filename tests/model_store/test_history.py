"""The fold-in rules against the formulas they are documented by."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import HistoryRule, LeastSquaresRule
from model_store.history import parse_rule

DIAGONAL = (0.5, 1.0, 2.0, 4.0)


def test_history_rule_scales_the_sum_by_the_length() -> None:
    """The user is n^-α · Σ h: with four rows of ones, α 0 gives 4, α ½ gives 2 and α 1 the mean."""
    rows = np.ones((4, 2), dtype=np.float32)

    assert HistoryRule(alpha=0.0).encode(rows).tolist() == [4.0, 4.0]
    assert HistoryRule(alpha=0.5).encode(rows).tolist() == [2.0, 2.0]
    assert HistoryRule(alpha=1.0).encode(rows).tolist() == [1.0, 1.0]


def test_history_rule_keeps_the_latest_rows() -> None:
    """Of rows given oldest first, the last ``max_items`` count: (2 + 4) / √2 here."""
    rows = np.array([[100.0], [2.0], [4.0]])

    user = HistoryRule(alpha=0.5, max_items=2).encode(rows)

    assert user == pytest.approx([6 / 2**0.5])


def test_history_rule_of_no_rows_is_zero() -> None:
    """An empty history is the zero vector of the right length and type, not NaN."""
    user = HistoryRule().encode(np.empty((0, 3), dtype=np.float32))

    assert user.tolist() == [0.0, 0.0, 0.0]
    assert user.dtype == np.float32


@pytest.mark.parametrize("facts", [{"max_items": 0}, {"max_items": -1}, {"alpha": float("nan")}])
def test_history_rule_refuses_senseless_facts(facts: dict[str, Any]) -> None:
    """A limit below one, which would mean "all", and an exponent that is no number are refused."""
    with pytest.raises(ValueError, match="expected"):
        HistoryRule(**facts)


@settings(deadline=None)  # the first call of LAPACK takes its time
@given(n=st.integers(1, 12), d=st.integers(1, 8), ridge=st.floats(0, 2), seed=st.integers(0, 999))
def test_least_squares_rule_is_the_dense_formula(n: int, d: int, ridge: float, seed: int) -> None:
    """``(diag(g + r n) + HᵀH)⁻¹ Hᵀ1`` by the inverse written out, with fewer rows than d, as many, and more."""
    rng = np.random.default_rng(seed)
    rows, diagonal = rng.normal(size=(n, d)).astype(np.float32), rng.uniform(0.1, 3, d)

    user = LeastSquaresRule(tuple(diagonal.tolist()), ridge).encode(rows)

    h = rows.astype(np.float64)
    expected = np.linalg.inv(np.diag(diagonal + ridge * n) + h.T @ h) @ h.T @ np.ones(n)
    assert user.dtype == np.float32
    np.testing.assert_allclose(user, expected, rtol=1e-5, atol=1e-6)


def test_least_squares_rule_of_a_hand_worked_user() -> None:
    """Rows (1, 0), (1, 0) and (0, 2), g = (1, 2), r = 1: u = (2 / (1 + 3 + 2), 2 / (2 + 3 + 4))."""
    user = LeastSquaresRule((1.0, 2.0), ridge=1.0).encode(np.array([[1.0, 0], [1, 0], [0, 2]]))

    assert user.tolist() == pytest.approx([2 / 6, 2 / 9])


def test_least_squares_rule_of_no_rows_is_zero() -> None:
    """An empty history is the zero vector of the right length and type."""
    user = LeastSquaresRule(DIAGONAL, ridge=0.5).encode(np.empty((0, 4), dtype=np.float32))

    assert user.tolist() == [0, 0, 0, 0]
    assert user.dtype == np.float32


@pytest.mark.parametrize("max_items", [1, 3, 4, 6])
def test_least_squares_rule_keeps_the_latest_rows(max_items: int) -> None:
    """Rows before the last ``max_items`` do not matter, nor do they count for the regularisation."""
    rows = np.random.default_rng(0).normal(size=(9, 4))

    user = LeastSquaresRule(DIAGONAL, 0.5, max_items).encode(rows)

    assert user.tolist() == LeastSquaresRule(DIAGONAL, 0.5).encode(rows[-max_items:]).tolist()
    assert user.tolist() != LeastSquaresRule(DIAGONAL, 0.5).encode(rows).tolist()


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        *(({"diagonal": diagonal}, "diagonal") for diagonal in [(), (0.0,), (1.0, -1.0)]),
        *(({"diagonal": (1.0, value)}, "diagonal") for value in (float("nan"), float("inf"))),
        *(({"ridge": ridge}, "ridge") for ridge in (-0.1, float("nan"), float("inf"))),
        *(({"max_items": most}, "max_items") for most in (0, -1, 2.0, True)),
    ],
)
def test_least_squares_rule_refuses_senseless_facts(facts: dict[str, Any], name: str) -> None:
    """The error names the field: what is not positive leaves the regression without a solution."""
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        LeastSquaresRule(**{"diagonal": (1.0,), **facts})


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"alpha": 0.25, "max_items": 7}, HistoryRule(0.25, 7)),
        ({"diagonal": [1.0, 2.0], "ridge": 0.5, "max_items": 7}, LeastSquaresRule((1.0, 2.0), 0.5, 7)),
    ],
)
def test_rule_is_known_by_its_fields(facts: Mapping[str, Any], rule: HistoryRule | LeastSquaresRule) -> None:
    """A diagonal makes it a regression; without one it is a scaled sum."""
    assert parse_rule(facts) == rule


@pytest.mark.parametrize("facts", [{"diagonal": [1.0], "alpha": 0.5}, {"beta": 1}, {"diagonal": 1.0}])
def test_fields_of_no_rule_are_refused(facts: Mapping[str, Any]) -> None:
    """Fields of both rules together, unknown ones, and a diagonal that is one number."""
    with pytest.raises(TypeError):
        parse_rule(facts)


@given(seed=st.integers(0, 99), n=st.integers(1, 12))
def test_parts_add_up_to_the_user(seed: int, n: int) -> None:
    """Whatever the rule, fewer rows than dimensions or more: each row has its share in the vector."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 5)).astype(np.float32)
    diagonal = tuple(rng.uniform(0.1, 2, 5).tolist())

    for rule in (HistoryRule(alpha=0.3), LeastSquaresRule(diagonal, ridge=0.2)):
        parts = rule.parts(rows)

        assert parts.shape == rows.shape
        np.testing.assert_allclose(parts.sum(axis=0), rule.encode(rows), rtol=1e-3, atol=1e-5)
