"""The loops in C: what they say is what numpy says, and what makes no sense is refused before it is read."""

import sys
import sysconfig
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.adapters import kernels, ranking
from service.adapters.exact_scan import Batch
from service.adapters.integer_rows import IntegerRows
from service.adapters.interleaved import LANES, MOST_THREADS, TILE, Asked, Interleaved

_kernels = pytest.importorskip("service.adapters._kernels", reason="there was no compiler")
pytestmark = pytest.mark.skipif(not kernels.KINDS, reason="the processor has not got the instructions")
NONE = np.empty(0, dtype=np.int64)


def rows_and_queries(n: int, d: int, b: int) -> tuple[Any, Any]:
    """Whole numbers of all sizes that there may be."""
    rng = np.random.default_rng(n + d + b)
    return rng.integers(-127, 128, (n, d)).astype(np.int8), rng.integers(-63, 64, (b, d)).astype(np.int8)


def interleaved(rows: Any, kind: str, threads: int = 1) -> Interleaved:
    """The rows, put in two pieces."""
    made = Interleaved(*rows.shape, kind=kind, threads=threads)
    half = len(rows) // 2 // LANES * LANES
    made.put(0, rows[:half])
    made.put(half, rows[half:])
    return made


def asked(queries: Any, k: int) -> Asked:
    """The best, nothing hidden, whatever they are."""
    return Asked(queries, k, np.zeros(len(queries)), 1 << 30, None, NONE, NONE)


def found(made: Interleaved, question: Asked) -> list[set[int]]:
    """The rows of each query."""
    counts, rows = made.find(question)
    assert counts.sum() == len(rows)
    parts = np.split(rows, np.cumsum(counts)[:-1])
    assert all(len(set(part.tolist())) == len(part) for part in parts)
    return [set(part.tolist()) for part in parts]


@pytest.mark.parametrize("kind", kernels.KINDS)
@pytest.mark.parametrize(("n", "d", "b", "k"), [(1, 1, 1, 1), (63, 3, 2, 5), (65, 64, 3, 7), (3001, 65, 9, 90)])
def test_finds_what_reaches_the_kth_best_less_the_slack(kind: str, n: int, d: int, b: int, k: int) -> None:
    """For any number of rows, numbers and queries; what is hidden or excluded counts nowhere."""
    rows, queries = rows_and_queries(n, d, b)
    scores = queries.astype(np.int64) @ rows.T.astype(np.int64)
    rng = np.random.default_rng(n)
    hidden, excluded = rng.random(n) < 0.2, rng.random((b, n)) < 0.1
    by_row = np.argwhere(excluded.T)
    slack = rng.uniform(0, 2000, b)
    shown = np.packbits(~hidden, bitorder="little")
    question = Asked(queries, k, slack, n, shown, by_row[:, 0].copy(), by_row[:, 1].copy())

    each = found(interleaved(rows, kind), question)

    for number, mine in enumerate(each):
        left = np.flatnonzero(~hidden & ~excluded[number])
        kth = np.sort(scores[number, left])[::-1][:k][-1:]
        least = kth[0] - slack[number] if len(left) >= k else -(1 << 40)
        assert mine == {row for row in left.tolist() if scores[number, row] >= least}


@pytest.mark.parametrize("kind", kernels.KINDS)
def test_products_of_the_largest_numbers_are_not_cut_off(kind: str) -> None:
    """Sums of two of them fit into 16 bits, and of as many as there may be into 32."""
    d = 1 << 17
    rows = np.full((2, d), 127, np.int8)
    rows[1, 0] = 126

    assert found(interleaved(rows, kind), asked(np.full((1, d), 63, np.int8), 1)) == [{0}]
    assert found(interleaved(rows, kind), asked(np.full((1, d), -63, np.int8), 1)) == [{1}]


@pytest.mark.parametrize("kind", kernels.KINDS)
def test_too_many_that_may_be_among_the_best_are_not_told(kind: str) -> None:
    """Of equal rows all may; queries that differ are answered all the same."""
    rows = np.ones((5000, 4), np.int8)
    rows[:3, 0] = 9
    queries = np.array([[0, 1, 0, 0], [1, 0, 0, 0]], np.int8)

    counts, best = interleaved(rows, kind).find(replace(asked(queries, 3), most=300))

    assert counts.tolist() == [-1, 3]
    assert sorted(best.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("kind", kernels.KINDS)
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_find_the_same(kind: str, threads: int) -> None:
    """Each looks at a part of the rows; the best of all parts remain."""
    rows, queries = rows_and_queries(200_000, 64, 3)
    excluded = np.sort(np.argsort(-(queries[1].astype(int) @ rows.T.astype(int)))[:500])
    question = replace(asked(queries, 20), excluded=excluded, excluded_by=np.ones_like(excluded))

    shared = interleaved(rows, kind, threads)

    assert shared._threads == threads
    assert found(shared, question) == found(interleaved(rows, kind), question)


@pytest.mark.parametrize("kind", kernels.KINDS)
@pytest.mark.parametrize("d", [1, 7, 8, 9, 64, 127, 128, 129, 136, 300, 1025])
def test_scores_are_those_of_numpy_to_the_last_bit(kind: str, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So processes with and without this say the same."""
    rng = np.random.default_rng(d)
    matrix, queries = rng.normal(size=(100, d)).astype(np.float32), rng.normal(size=(4, d)).astype(np.float32)
    rows, numbers = rng.integers(0, 100, 500), rng.integers(0, 4, 500)

    scores = kernels.score(kind, matrix, queries, np.repeat(rows, 2)[::2], np.repeat(numbers, 2)[::2])

    monkeypatch.setattr(kernels, "KINDS", ())
    assert scores.tolist() == ranking.exact_scores_of(matrix, rows, queries, numbers).tolist()
    assert scores.tolist() == ranking.exact_scores(matrix[rows], queries[numbers]).tolist()


@pytest.mark.parametrize("scale", [1e-42, 1.0, 1e30])
@pytest.mark.parametrize("d", [1, 4, 30, 65])
def test_queries_are_rounded_as_numpy_rounds_them(d: int, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps are the same, and the slack but for what sums are rounded; so is one of nothing but zeros."""
    rng = np.random.default_rng(d)
    matrix = rng.normal(size=(50, d)).astype(np.float32)
    queries = (rng.normal(size=(5, d)) * scale).astype(np.float32)
    queries[2] = 0
    rows = IntegerRows(matrix)
    assert len(list(rows.chunks())) == 1
    batch = Batch(queries, 1, ranking.norms_of(queries), ranking.longest_row(matrix), NONE, NONE, NONE)

    in_c = rows.rounded(batch)

    monkeypatch.setattr(kernels, "KINDS", ())
    in_numpy = rows.rounded(batch)
    assert in_c.steps[:, :d].tolist() == in_numpy.steps.tolist()
    assert not in_c.steps[:, d:].any()
    np.testing.assert_allclose(in_c.slack, in_numpy.slack, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 20, 256, 257])
def test_order_is_that_of_numpy(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Query by query the best first, with all that equal the last one, some queries without any."""
    rng = np.random.default_rng(3)
    numbers = np.sort(rng.choice([0, 1, 3, 6], 2000))
    scores = rng.integers(-9, 9, 2000) / 2 + rng.choice([0, 0, 1e-9], 2000)

    order = ranking.in_order(numbers, scores, k, 8)

    monkeypatch.setattr(kernels, "KINDS", ())
    expected = ranking.in_order(numbers, scores, k, 8)
    assert sorted(order.tolist()) == sorted(expected.tolist())
    assert scores[order].tolist() == scores[expected].tolist()
    assert (np.diff(numbers[order]) >= 0).all()
    assert not kernels.order(numbers[:0], scores[:0], 3).size


@pytest.mark.parametrize(
    ("numbers", "scores", "k"), [(np.zeros(2, np.int64), np.zeros(3), 1), (np.zeros(1, np.int64), np.zeros(1), 0)]
)
def test_order_of_what_does_not_go_together_is_refused(numbers: Any, scores: Any, k: int) -> None:
    """As many queries as scores."""
    with pytest.raises(ValueError, match="expected"):
        kernels.order(numbers, scores, k)


def test_queries_of_another_length_are_not_rounded() -> None:
    """Each number has its scale."""
    with pytest.raises(ValueError, match="expected"):
        kernels.rounded(np.zeros((1, 3), np.float32), kernels.Rounding(np.ones(2), 1.0, 1.0, 0.0))


SOUND = {
    "kind": kernels.KINDS[0] if kernels.KINDS else "",
    "rows": bytes(TILE * 4),
    "n": TILE,
    "quads": 1,
    "queries": bytes(4),
    "slack": bytes(8),
    "k": 1,
    "most": 9,
    "shown": bytes(TILE // 8),
    "excluded": np.array([5]),
    "excluded_by": np.array([0]),
    "threads": 1,
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "sse2"},
        {"rows": bytes(TILE * 4 - 1)},
        {"n": TILE + 1},
        {"n": -1},
        {"n": 1 << 62, "quads": 64, "rows": b""},
        {"quads": 0},
        {"n": 1, "quads": 1 << 62, "rows": b"", "queries": b""},
        {"queries": bytes(8)},
        {"k": 0},
        {"k": 1 << 60},
        {"shown": bytes(TILE // 8 - 1)},
        {"excluded": np.array([TILE])},
        {"excluded": np.array([-1])},
        {"excluded_by": np.array([1])},
        {"excluded_by": np.array([0, 0])},
        {"threads": 0},
        {"threads": MOST_THREADS + 1},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Nothing outside of what was given is ever read."""
    assert _kernels.scan(*SOUND.values())

    with pytest.raises(ValueError, match="expected"):
        _kernels.scan(*{**SOUND, **wrong}.values())


@pytest.mark.parametrize(("row", "number"), [(3, 0), (-1, 0), (0, 2), (0, -1)])
def test_scores_of_what_there_is_not_are_refused(row: int, number: int) -> None:
    """Neither rows nor queries."""
    matrix, queries = np.zeros((3, 2), np.float32), np.zeros((2, 2), np.float32)

    with pytest.raises(ValueError, match="expected"):
        kernels.score(kernels.KINDS[0], matrix, queries, np.array([row]), np.array([number]))


def test_half_a_number_is_refused() -> None:
    """There would be no score for it."""
    with pytest.raises(ValueError, match="expected"):
        _kernels.score(kernels.KINDS[0], 2, bytes(8), bytes(8), bytes(12), bytes(12))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_queries_that_cannot_be_rounded_have_no_slack(number: float) -> None:
    """So that nothing is left out for them."""
    queries = np.array([[1, number], [1, 2]], np.float32)

    steps, slack = kernels.rounded(queries, kernels.Rounding(np.ones(2), 1.0, 1.0, 0.0))

    assert np.isfinite(slack).tolist() == [False, True]
    assert (steps[0, 1], steps[1].tolist()) == (0, [32, 63, 0, 0])


def test_nothing_that_is_given_is_kept() -> None:
    """No reference is left behind, whether it is refused or not (white box)."""
    rows, before = SOUND["rows"], sys.getrefcount(SOUND["rows"])
    for _ in range(10):
        _kernels.scan(*SOUND.values())
        with pytest.raises(ValueError, match="expected"):
            _kernels.scan(*{**SOUND, "k": 0}.values())

    assert sys.getrefcount(rows) - before < 5


def test_one_file_serves_all_releases_of_python() -> None:
    """It is of the stable ABI, where there is one."""
    assert _kernels.__file__.endswith(".abi3.so") or sysconfig.get_platform().startswith("win")


@pytest.mark.parametrize(("n", "d"), [(1, 1), (17, 3), (64, 64), (1000, 65), (5000, 6)])
def test_rows_are_rounded_as_numpy_rounds_them(n: int, d: int) -> None:
    """To the same whole numbers, with the same bounds but for the last bits."""
    rng = np.random.default_rng(n + d)
    matrix = (rng.normal(size=(n, d)) * rng.choice([1e-20, 1.0, 1e20], d)).astype(np.float32)
    matrix[:, 0] = 0
    by_chunks, at_once = (Interleaved(n, d, kind=kernels.KINDS[0]) for _ in range(2))
    rows, same = IntegerRows(matrix), IntegerRows(matrix)

    for start, chunk in rows.chunks():
        by_chunks.put(start, chunk)
    same.put_into(at_once)

    assert np.array_equal(at_once._rows, by_chunks._rows)
    assert same.rounding.longest == pytest.approx(rows.rounding.longest, rel=1e-12)
    assert same.rounding.most_off == pytest.approx(rows.rounding.most_off, rel=1e-12)


@pytest.mark.parametrize("matrix", [np.ones((40, 5), np.float64), np.ones((5, 40), np.float32).T])
def test_rows_of_another_kind_are_rounded_by_numpy(matrix: Any) -> None:
    """Where they do not lie as C expects them."""
    made = Interleaved(40, 5, kind=kernels.KINDS[0])
    rows = IntegerRows(matrix)

    rows.put_into(made)

    assert rows.rounding.longest == pytest.approx(127 * np.sqrt(5))


@pytest.mark.parametrize(
    ("rows", "scales", "start"),
    [
        ((3, 4), 5, 0),
        ((3, 5), 4, 0),
        ((3, 4), 4, 1),
        ((3, 4), 4, -16),
        ((65, 4), 4, 0),
        ((3, 4), 4, 64),
        ((3, 4), 0, 0),
    ],
)
def test_rows_for_which_there_is_no_room_are_refused(rows: Any, scales: int, start: int) -> None:
    """Nothing is written beyond what is there."""
    made = Interleaved(64, 4, kind=kernels.KINDS[0])
    with pytest.raises(ValueError, match="expected"):
        made.round(start, np.ones(rows, np.float32), np.ones(scales))
