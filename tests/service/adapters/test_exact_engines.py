"""Every exact engine against brute force: what it proposes holds the best, and nothing that may not be found."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters import exact_scan, integer_engine, integer_rows, kernels
from service.adapters.exact_scan import Batch
from service.adapters.integer_engine import IntegerEngine
from service.adapters.integer_rows import IntegerRows
from service.adapters.ranking import longest_row, norms_of
from service.adapters.segments import Engine, ExactEngine
from service.adapters.selection import GROUP, Selection, padded
from service.domain import Matrix

MakeEngine = Callable[[Matrix], Engine]
Rows = np.ndarray


@pytest.fixture(params=["rows", "onnx", *kernels.KINDS])
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    """Each in turn; the kernel with all instructions that the processor has."""
    if request.param == "rows":
        return ExactEngine
    return partial(IntegerEngine, kind=None if request.param == "onnx" else request.param)


@pytest.fixture(params=["one block", "many blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that few rows make many of them."""
    if request.param == "many blocks":
        monkeypatch.setattr(integer_engine, "_BLOCK", 2 * GROUP)
        monkeypatch.setattr(integer_rows, "CHUNK", 2 * GROUP)
        monkeypatch.setattr(exact_scan, "_BLOCK", 1)
        monkeypatch.setattr(exact_scan, "_LEAST_ROWS", 2 * GROUP)


def batch_of(matrix: Matrix, queries: Matrix, k: int, hidden: Rows, excluded: list[Rows]) -> Batch:
    """As the index asks."""
    flat = np.concatenate(excluded).astype(np.int64)
    by = np.repeat(np.arange(len(queries)), [len(rows) for rows in excluded])
    order = np.argsort(flat, kind="stable")
    hidden = np.sort(hidden).astype(np.int64)
    return Batch(queries, k, norms_of(queries), longest_row(matrix), hidden, flat[order], by[order])


def check(engine: Engine, matrix: Matrix, batch: Batch) -> None:
    """Compares with sorting all rows by scores without any rounding."""
    found = engine.find(batch)
    pairs = list(zip(found.queries.tolist(), found.rows.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    excluded = set(zip(batch.excluded_by.tolist(), batch.excluded.tolist(), strict=True))
    for number, query in enumerate(batch.queries):
        gone = set(batch.hidden.tolist()) | {row for by, row in excluded if by == number}
        proposed = {row for by, row in pairs if by == number}
        alive = set(range(len(matrix))) - gone
        assert proposed <= alive
        scores = {row: score(matrix[row], query) for row in alive}
        least = sorted(scores.values(), reverse=True)[: batch.k][-1:]
        assert {row for row in alive if least and scores[row] >= least[0]} <= proposed


def score(row: Rows, query: Rows) -> Fraction:
    """The inner product of what these numbers are, exactly."""
    pairs = zip(row.tolist(), query.tolist(), strict=True)
    return sum((Fraction(a) * Fraction(b) for a, b in pairs if a and b), Fraction())


def numbers(draw: st.DrawFn, shape: tuple[int, int]) -> Matrix:
    """Many equal ones, or of one size, or of all sizes that there are, down to those that float32 can hardly hold."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["equal", "few", "normal", "close", "huge", "denormal", "all sizes", "one is long"]))
    values = rng.standard_normal(shape)
    match kind:
        case "equal":
            values[:] = values[:1]
        case "few":
            values = rng.integers(-1, 2, shape).astype(np.float64)
        case "close":
            values = values[:1] + 1e-7 * values
        case "huge":
            values *= 1e37
        case "denormal":
            values *= 1e-44
        case "all sizes":
            values *= 10.0 ** rng.integers(-40, 38, shape)
        case "one is long":
            values[:1] *= 1e6
    return values.astype(np.float32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Matrix, Batch]:
    """Rows, and what is asked of them."""
    n, d, b = draw(st.integers(1, 150)), draw(st.sampled_from([1, 2, 3, 7, 16, 33])), draw(st.integers(1, 5))
    matrix, queries = numbers(draw, (n, d)), numbers(draw, (b, d))
    k = draw(st.one_of(st.integers(1, 4), st.integers(1, n + 3)))
    share = st.sampled_from([0.0, 0.1, 0.9, 1.0])
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hidden = np.flatnonzero(rng.random(n) < draw(share))
    excluded = [np.flatnonzero(rng.random(n) < draw(share)) for _ in range(b)]
    return matrix, batch_of(matrix, queries, k, hidden, excluded)


@pytest.mark.usefixtures("_blocks")
@given(case=cases())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_best_are_proposed_whatever_the_numbers(make_engine: MakeEngine, case: tuple[Matrix, Batch]) -> None:
    """Equal, huge, tiny and mixed ones, any number of rows and queries, with anything hidden or excluded."""
    matrix, batch = case

    check(make_engine(matrix), matrix, batch)


@pytest.mark.parametrize("k", [1, 33, 400])
def test_best_are_proposed_at_size(make_engine: MakeEngine, k: int) -> None:
    """With several blocks, equal rows among them, and exclusions of the very best; few others are proposed."""
    rng = np.random.default_rng(k)
    matrix = rng.standard_normal((70_001, 16), dtype=np.float32)
    matrix[::7] = matrix[rng.integers(0, 1000, len(matrix[::7]))]
    queries = rng.standard_normal((3, 16), dtype=np.float32)
    exact = queries.astype(np.float64) @ matrix.T.astype(np.float64)
    excluded = [np.argsort(-each)[:20] for each in exact]
    hidden = np.unique(np.argsort(-exact[0])[20:40])

    found = make_engine(matrix).find(batch_of(matrix, queries, k, hidden, excluded))

    for number, each in enumerate(exact):
        each[excluded[number]] = each[hidden] = -np.inf
        wanted = np.flatnonzero(each >= np.partition(each, -k)[-k])
        rows = found.rows[found.queries == number]
        assert set(wanted.tolist()) <= set(rows.tolist())
        assert np.isfinite(each[rows]).all()
        assert len(rows) < 8 * len(wanted) + 100


def test_engine_of_what_is_not_finite_looks_at_all_rows() -> None:
    """Neither makes whole numbers of it nor fails."""
    matrix = np.array([[1, 2], [np.inf, 0], [3, 4]], np.float32)
    queries = np.array([[1, 1]], np.float32)

    found = IntegerEngine(matrix).find(batch_of(matrix, queries, 3, np.empty(0), [np.empty(0)]))

    assert {0, 2} <= set(found.rows.tolist())


@pytest.mark.parametrize("kinds", [(), kernels.KINDS])
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 40), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e5]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bound_of_whole_numbers_holds(
    monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], seed: int, d: int, scale: float
) -> None:
    """No product is further off its exact score than the engine's docstring says (white box)."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    rng = np.random.default_rng(seed)
    matrix = (rng.standard_normal((50, d)) * scale * 10.0 ** rng.integers(-3, 3, d)).astype(np.float32)
    queries = rng.standard_normal((2, d)).astype(np.float32)
    rows = IntegerRows(matrix)
    ((_, whole),) = rows.chunks()

    rounded = rows.rounded(batch_of(matrix, queries, 1, np.empty(0), [np.empty(0)] * 2))

    steps = rounded.steps[:, :d].astype(np.float64)
    scaled = queries * rows._scales
    unit = np.abs(scaled).max(axis=1) / 63
    products = steps @ whole.T.astype(np.float64)
    exact = queries.astype(np.float64) @ matrix.T.astype(np.float64)
    off = np.abs(exact / unit[:, None] - products)
    assert (np.abs(steps) <= 63).all()
    assert (2 * off <= rounded.slack[:, None]).all()
    assert (rounded.slack / 2 <= np.abs(scaled).sum(axis=1) / unit + 127 * d).all()


def test_selection_without_rows_finds_none() -> None:
    """Nothing was taken, so there is nothing."""
    queries, rows = Selection(3, np.zeros(2), np.float32).found()

    assert (queries.size, rows.size) == (0, 0)


def test_selection_keeps_nothing_of_the_callers() -> None:
    """A caller may write the next block over the last one, also where that has fewer rows than are wanted."""
    scores = np.arange(16, dtype=np.float32)[None]
    selection = Selection(20, np.zeros(1), np.float32)
    selection.take(scores, 0)
    scores[:] = np.arange(100, 116)
    selection.take(scores, 16)

    assert sorted(selection.found()[1].tolist()) == list(range(12, 32))


def test_selection_lets_go_of_what_no_longer_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each block is better than the last, what is kept does not grow with them."""
    monkeypatch.setattr("service.adapters.selection._MOST_WAITING", 64)
    selection = Selection(2, np.zeros(1), np.int32)
    for start in range(0, 1600, 16):
        selection.take(np.arange(start, start + 16, dtype=np.int32)[None], start)

    assert selection._waiting <= 64
    assert selection.found()[1].tolist() == [1598, 1599]


def test_padding_makes_whole_groups() -> None:
    """The next multiple, or the number itself."""
    assert [padded(n) for n in (0, 1, GROUP, GROUP + 1)] == [0, GROUP, GROUP, 2 * GROUP]
