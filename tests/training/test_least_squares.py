"""Alternating least squares against dense algebra, with and without a prior."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training import least_squares
from training.least_squares import half_step, shared_spectrum, solve_rows, turned

N_COLUMNS = 9
Rows = list[list[int]]
ROWS: Rows = [[0, 1], [], [5], list(range(N_COLUMNS)), [8, 2, 0, 3, 7], [1]]
rows_of_columns = st.lists(st.lists(st.integers(0, N_COLUMNS - 1), unique=True), min_size=1, max_size=8)


def matrix(rows: Rows) -> csr_matrix:
    """Binary (n, 9), its columns in the given order within a row."""
    indptr = np.cumsum([0, *map(len, rows)])
    indices = [column for row in rows for column in row]
    return csr_matrix((np.ones(len(indices)), indices, indptr), shape=(len(rows), N_COLUMNS))


def normals(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Standard normal float32."""
    return rng.normal(size=shape).astype(np.float32)


def solution(
    h: NDArray[np.float32], own: list[int], shared: NDArray[np.float64], ridge: float, prior: NDArray[np.float32]
) -> NDArray[np.float64]:
    """``(shared + Σ h hᵀ + λI)⁻¹ (Σ h + λμ)``, written out in float64; zero for a row that has nothing."""
    if not own:
        return np.zeros(h.shape[1])
    observed = h[own].astype(np.float64)
    system = shared + observed.T @ observed + ridge * np.eye(h.shape[1])
    return np.linalg.solve(system, observed.sum(axis=0) + ridge * prior)


@settings(deadline=None)  # the first call of LAPACK takes its time
@given(rows=rows_of_columns, d=st.integers(1, 12), unobserved=st.floats(0.01, 1), seed=st.integers(0, 999))
@example(rows=ROWS, d=4, unobserved=0.2, seed=0)  # rows without entries, and of fewer and more than d
@example(rows=[[], []], d=4, unobserved=0.2, seed=0)
def test_half_step_with_a_prior_solves_the_normal_equations(rows: Rows, d: int, unobserved: float, seed: int) -> None:
    """Each row is the regression that is drawn to its own mean as hard as its own ridge says."""
    rng = np.random.default_rng(seed)
    h, prior, ridges = normals(rng, N_COLUMNS, d), normals(rng, len(rows), d), rng.uniform(0.2, 2, len(rows))

    found = half_step(matrix(rows), h, unobserved, ridges, prior)

    shared = unobserved * h.T.astype(np.float64) @ h
    expected = [solution(h, own, shared, ridges[row], prior[row]) for row, own in enumerate(rows)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("d", [2, 4, 12])
def test_half_step_without_a_prior_is_that_with_a_prior_of_zero(d: int) -> None:
    """And both are the plain ridge regression."""
    rng = np.random.default_rng(1)
    h, ridges = normals(rng, N_COLUMNS, d), np.linspace(0.3, 1.3, len(ROWS))
    nothing = np.zeros((len(ROWS), d), np.float32)

    found = half_step(matrix(ROWS), h, 0.2, ridges)

    expected = [solution(h, own, 0.2 * h.T @ h, ridges[row], nothing[row]) for row, own in enumerate(ROWS)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, half_step(matrix(ROWS), h, 0.2, ridges, nothing), rtol=1e-5, atol=1e-6)


def test_half_step_of_a_hand_worked_row() -> None:
    """Factors 1 and 2 of length 1, of which the row has the second; α₀ = ½, λ = 3, μ = 4.

    ``(½·(1 + 4) + 4 + 3) w = 2 + 3·4``, so w = 14 / 9.5.
    """
    interactions = csr_matrix(np.array([[0.0, 1.0]]))

    w = half_step(interactions, np.array([[1], [2]], np.float32), 0.5, np.array([3.0]), np.array([[4]], np.float32))

    assert w.item() == pytest.approx(14 / 9.5)


def test_strong_ridge_leaves_the_prior_and_only_where_there_is_something() -> None:
    """With λ of a million a row is its prior; rows without interactions are zero whatever their prior."""
    rng = np.random.default_rng(2)
    h, prior = normals(rng, N_COLUMNS, 4), 1 + normals(rng, len(ROWS), 4)

    found = half_step(matrix(ROWS), h, 0.1, np.full(len(ROWS), 1e6), prior)

    filled = [bool(row) for row in ROWS]
    np.testing.assert_allclose(found[filled], prior[filled], atol=1e-3)
    assert not found[np.logical_not(filled)].any()


def test_column_order_within_a_row_does_not_matter() -> None:
    """A history is a set: turned round it gives the same row, but for the rounding of sums."""
    rng = np.random.default_rng(3)
    h, prior, ridges = normals(rng, N_COLUMNS, 6), normals(rng, len(ROWS), 6), np.ones(len(ROWS))
    backwards = [row[::-1] for row in ROWS]

    found = half_step(matrix(backwards), h, 0.1, ridges, prior)

    np.testing.assert_allclose(found, half_step(matrix(ROWS), h, 0.1, ridges, prior), rtol=1e-4, atol=1e-5)


@settings(deadline=None)  # the first call of LAPACK takes its time
@given(rows=rows_of_columns, d=st.integers(1, 12), seed=st.integers(0, 999))
@example(rows=ROWS, d=4, seed=0)
def test_solve_rows_takes_the_shared_part_as_a_diagonal(rows: Rows, d: int, seed: int) -> None:
    """``(diag(s) + Σ h hᵀ + λI) w = Σ h + λμ``, whatever s is."""
    rng = np.random.default_rng(seed)
    h, prior, ridges = normals(rng, N_COLUMNS, d), normals(rng, len(rows), d), rng.uniform(0, 2, len(rows))
    spectrum = rng.uniform(0.3, 2, d)

    found = solve_rows(matrix(rows), h, spectrum, ridges, prior)

    expected = [solution(h, own, np.diag(spectrum), ridges[row], prior[row]) for row, own in enumerate(rows)]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_blocks_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows at once or one at a time: the padding of a block changes nothing but the rounding."""
    rng = np.random.default_rng(4)
    rows = [rng.permutation(N_COLUMNS)[: rng.integers(0, N_COLUMNS + 1)].tolist() for _ in range(40)]
    h, prior, ridges = normals(rng, N_COLUMNS, 5), normals(rng, 40, 5), rng.uniform(0.5, 2, 40)

    together = half_step(matrix(rows), h, 0.1, ridges, prior)
    monkeypatch.setattr(least_squares, "_BLOCK_CELLS", 1)
    apart = half_step(matrix(rows), h, 0.1, ridges, prior)

    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


def test_tables_are_turned_and_multiplied_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 rows, the last of them shorter, give what the whole gives, in float32."""
    rng = np.random.default_rng(6)
    h, prior, ridges = normals(rng, N_COLUMNS, 5), normals(rng, len(ROWS), 5), rng.uniform(0.5, 2, len(ROWS))
    expected = half_step(matrix(ROWS), h, 0.1, ridges, prior)
    spectrum, _ = shared_spectrum(h, 0.1)

    monkeypatch.setattr(least_squares, "_BLOCK_ROWS", 4)
    found = half_step(matrix(ROWS), h, 0.1, ridges, prior)

    np.testing.assert_allclose(shared_spectrum(h, 0.1)[0], spectrum, rtol=1e-12)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == turned(h, np.eye(5)).dtype == np.float32


@pytest.mark.parametrize(
    ("work", "most"),
    [
        (lambda h: shared_spectrum(h, 0.1), 0.6),
        (lambda h: turned(h, np.eye(8)), 1.6),  # what is returned, and two blocks in float64
        (lambda h: half_step(csr_matrix(([1.0], [3], [0, 1]), (1, len(h))), h, 0.1, np.ones(1)), 2.6),
    ],
)
def test_double_precision_is_for_a_block_at_a_time(work: Callable[[NDArray[np.float32]], Any], most: float) -> None:
    """Whatever the table's size: in units of the table, which in float64 would be 2 and a copy."""
    h = normals(np.random.default_rng(7), 200_000, 8)
    work(h[:9])

    tracemalloc.start()
    work(h)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < most * h.nbytes


@pytest.mark.parametrize("m", [3, 9])
def test_shared_spectrum_is_the_eigendecomposition(m: int) -> None:
    """``V diag(s) Vᵀ = α₀ HᵀH`` with V orthonormal; with fewer factors than d none of s falls below 0."""
    h = normals(np.random.default_rng(5), m, 6)

    spectrum, basis = shared_spectrum(h, 0.3)

    np.testing.assert_allclose(basis.T @ basis, np.eye(6), atol=1e-12)
    np.testing.assert_allclose((basis * spectrum) @ basis.T, 0.3 * h.T.astype(np.float64) @ h, atol=1e-12)
    assert (spectrum >= 0).all()
    assert np.count_nonzero(spectrum > 1e-9) == min(m, 6)


def test_shared_spectrum_of_a_table_of_zeros_is_zero() -> None:
    """Nothing shared, nothing added."""
    assert shared_spectrum(np.zeros((4, 3), np.float32), 0.3)[0].tolist() == [0, 0, 0]
