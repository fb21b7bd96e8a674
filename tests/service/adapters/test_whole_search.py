"""Whole searches in C find what searches step by step find, and say so where they cannot tell."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from service.adapters import kernels, segment_search
from service.adapters.integer_engine import IntegerEngine
from service.adapters.interleaved import Interleaved, Segments
from service.adapters.kernels import Rounding
from service.adapters.memory import MemoryIndex
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import Guarded
from service.domain import Matrix
from service.queries import Query

pytest.importorskip("service.adapters._kernels", reason="there was no compiler")
pytestmark = pytest.mark.skipif(not kernels.KINDS, reason="the processor has not got the instructions")


@pytest.fixture
def no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes step by step fails."""

    def refuse(*_: object) -> Any:
        raise AssertionError("expected a whole search")

    monkeypatch.setattr(segment_search, "_best_of_parts", refuse)


def index_of(rows: Matrix, kind: str | None, min_delta: int = 64) -> SegmentedIndex:
    """An index of items i0, i1 and so on."""
    make = partial(IntegerEngine, kind=kind)
    return SegmentedIndex([f"i{n}" for n in range(len(rows))], rows, make_engine=make, min_delta=min_delta)


def queries_of(rng: np.random.Generator, n: int, d: int) -> list[Query]:
    """Of all lengths, with ids and rows to leave out."""
    return [
        Query(
            rng.normal(size=d).astype(np.float32),
            int(rng.integers(1, 2 * n)) if number % 5 == 0 else int(rng.integers(1, 12)),
            {f"i{item}" for item in rng.integers(0, n + 40, rng.integers(0, 9)).tolist()},
            exclude_rows=rng.integers(0, n, rng.integers(0, 30)).astype(rng.choice([np.int32, np.int64])),
        )
        for number in range(11)
    ]


@pytest.mark.usefixtures("no_steps")
@pytest.mark.parametrize("kind", kernels.KINDS)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (70, 3), (1000, 8), (1500, 64), (900, 65)])
def test_both_segments_are_searched(kind: str, n: int, d: int) -> None:
    """Before and after items are written, removed and folded; equal vectors by id."""
    rng = np.random.default_rng(n + d)
    rows = rng.normal(size=(n, d)).astype(np.float32)
    rows[rng.random(n) < 0.2] = rows[0]
    index, brute = index_of(rows, kind), MemoryIndex([f"i{item}" for item in range(n)], rows)
    for round_ in range(6):
        asked = queries_of(rng, n, d)
        assert index.search_many(asked) == brute.search_many(asked)
        written = [f"i{item}" for item in rng.integers(0, n + 40, 25).tolist()]
        vectors = rng.normal(size=(len(written), d)).astype(np.float32)
        vectors[:3] = rows[0]
        gone = [f"i{item}" for item in rng.integers(0, n + 40, 5).tolist()]
        for each in (index, brute):
            each.upsert(written, vectors)
            each.remove(gone)
        if round_ % 2:
            index.settle()


@pytest.mark.usefixtures("no_steps")
@pytest.mark.parametrize("kind", kernels.KINDS)
@pytest.mark.parametrize("d", [1, 64, 5000])
def test_long_deltas_are_searched(kind: str, d: int) -> None:
    """Block by block for all queries; a block is one row where it is long, and the last one is not whole."""
    rng = np.random.default_rng(d)
    rows = rng.normal(size=(50, d)).astype(np.float32)
    index, brute = index_of(rows, kind, min_delta=10_000), MemoryIndex([f"i{item}" for item in range(50)], rows)
    for each in (index, brute):
        later = np.random.default_rng(3).normal(size=(333, d)).astype(np.float32)
        each.upsert([f"i{item}" for item in range(20, 353)], later)
        each.remove([f"i{item}" for item in range(0, 353, 9)])
    assert index.state.delta == 333

    asked = queries_of(rng, 50, d)
    assert index.search_many(asked) == brute.search_many(asked)


@pytest.mark.parametrize("kind", kernels.KINDS)
def test_what_eight_bits_cannot_tell_is_searched_step_by_step(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many equals, and queries that are not finite; the others of the batch are not searched again."""
    rng = np.random.default_rng(1)
    rows = np.zeros((5000, 4), np.float32)
    rows[:, 0] = 1  # all alike for the first query
    rows[:, 1] = rng.normal(size=5000)
    index, brute = index_of(rows, kind), MemoryIndex([f"i{n}" for n in range(5000)], rows)
    alike, told = np.array([1, 0, 0, 0], np.float32), np.array([0, 1, 0, 0], np.float32)
    by_steps: list[int] = []
    step_by_step = segment_search._best_of_parts

    def noted(view: Any, asks: Any, names: Any) -> Any:
        by_steps.append(len(asks))
        return step_by_step(view, asks, names)

    monkeypatch.setattr(segment_search, "_best_of_parts", noted)
    asked = [Query(told, 4), Query(alike, 3), Query(told, 5)]

    assert index.search_many(asked) == brute.search_many(asked)
    assert by_steps == [1]
    with np.errstate(invalid="ignore"):
        index.search_many([Query(np.full(4, np.inf, np.float32), 3)])
    assert by_steps == [1, 1]


@pytest.mark.parametrize("kind", kernels.KINDS)
def test_what_was_written_may_be_out_of_bounds(kind: str) -> None:
    """Scores beyond single precision are right all the same, and those that are no numbers come as step by step."""
    rows = np.eye(4, dtype=np.float32)
    index, stepped = index_of(rows, kind), index_of(rows, None)
    for each in (index, stepped):
        each.upsert(["big", "small"], np.array([[3e38, 3e38, 0, 0], [-3e38, 1, 0, 0]], np.float32))
    asked = [Query(np.array([3e38, 3e38, 1, 0], np.float32), 6), Query(np.ones(4, np.float32), 6)]

    assert index.search_many(asked) == stepped.search_many(asked)
    assert index.search_many(asked)[0][0].item_id == "big"


def test_failing_search_is_done_step_by_step(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Once, with a word in the log, and it counts as lost."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(300, 8)).astype(np.float32)
    index, calls = index_of(rows, kernels.KINDS[0]), []

    def fail(*_: object) -> Any:
        calls.append(1)
        raise MemoryError

    monkeypatch.setattr(Interleaved, "search", fail)
    asked = [Query(rows[3], 5)]

    for _ in range(2):
        assert index.search_many(asked)[0][0].item_id == "i3"
    assert len(calls) == 1
    assert not index.healthy
    assert "index_engine_lost" in caplog.text


def test_engines_without_whole_searches_are_asked_for_candidates() -> None:
    """None for every query."""

    class Proposes:
        def find(self, batch: Any) -> Any:
            raise AssertionError(batch)

    assert Guarded(Proposes(), np.eye(2, dtype=np.float32)).search(None, [None, None], None) == [None, None]  # type: ignore[arg-type,list-item]


def segments(**other: Any) -> Segments:
    """Twenty rows of three numbers, and two later ones."""
    sound: dict[str, Any] = {
        "matrix": np.ones((20, 3), np.float32),
        "shown": None,
        "slots": None,
        "row_of": None,
        "later": np.ones((2, 3), np.float32),
        "later_slots": np.array([20, 21]),
        "later_dead": np.empty(0, np.int64),
        "later_longest": 2.0,
    }
    return Segments(**sound | other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"matrix": np.ones((19, 2), np.float32)},
        {"shown": np.zeros(2, np.uint8)},
        {"slots": np.arange(19)},
        {"later": np.ones((2, 2), np.float32)},
        {"later_slots": np.array([20])},
        {"later_dead": np.array([2])},
        {"later_dead": np.array([-1])},
    ],
)
def test_segments_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    """Nothing is read beyond what is there."""
    search(segments())
    with pytest.raises(ValueError, match="expected"):
        search(segments(**wrong))


@pytest.mark.parametrize(
    "sought",
    [
        (np.ones(2, np.float32), np.empty(0, np.int64)),
        (np.ones(3, np.float32), np.zeros(1, np.int16)),
    ],
)
def test_what_cannot_be_sought_is_refused(sought: Any) -> None:
    """Vectors of another length, slots of another kind."""
    with pytest.raises(ValueError, match="expected"):
        search(segments(), sought)


def test_slots_that_nobody_has_are_passed_over() -> None:
    """They may have been given since, or be of no segment; none is excluded by them."""
    barred = np.array([-1, 25, 1 << 40, 3])

    counts, slots, _, _ = search(segments(row_of=np.arange(20)), (np.ones(3, np.float32), barred))

    assert counts == [21]
    assert sorted(slots.tolist()) == [n for n in range(22) if n != 3]


def search(where: Segments, *sought: Any, k: int = 30) -> Any:
    """One search, as if everything were sound."""
    made = Interleaved(20, 3, kind=kernels.KINDS[0])
    made.put(0, np.ones((20, 3), np.int8))
    rounding = Rounding(np.ones(3), 2.0, 0.0, 1e-10)
    return made.search(where, rounding, list(sought) or [(np.ones(3, np.float32), np.empty(0, np.int64))], k, 1000)
