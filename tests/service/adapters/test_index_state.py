"""What indexes tell of themselves: their rows, the lists they remember, their foldings."""

import numpy as np
import pytest

from service.adapters.memory import MemoryIndex
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import ExactEngine
from service.domain import Matrix
from service.queries import IndexState, Query

D = 3


def rows(n: int) -> Matrix:
    """Some vectors."""
    return np.random.default_rng(n).normal(size=(n, D)).astype(np.float32)


def names(prefix: str, n: int) -> list[str]:
    """As many ids."""
    return [f"{prefix}{number}" for number in range(n)]


def test_rows_of_the_segments_are_told() -> None:
    """What comes, what replaces and what goes shows in the segment it is in; what is found is what is not gone."""
    index = SegmentedIndex(names("m", 10), rows(10))

    index.upsert(["m0", "m1", "n0", "n1", "n2"], rows(5))
    index.remove(["m2", "n0", "unknown"])
    index.upsert(["n1"], rows(1))

    state = index.state
    assert state == IndexState(main=10, main_gone=3, delta=6, delta_gone=2)
    assert state.main - state.main_gone + state.delta - state.delta_gone == len(index)


def test_remembered_lists_are_counted() -> None:
    """One for each key, and no more than are kept; they outlive foldings."""
    index = SegmentedIndex(names("m", 10), rows(10), min_delta=2, remembered=2)
    for key in ("a", "b", "b", "c"):
        index.search_many([Query(rows(1)[0], 3, key=key)])
    assert index.state.remembered == 2

    index.upsert(names("n", 3), rows(3))
    index.settle()

    assert index.state == IndexState(main=13, remembered=2)


def test_foldings_tell_how_long_they_took() -> None:
    """Each one that succeeds is told of once, with the time it took."""
    told: list[float | None] = []
    index = SegmentedIndex(names("m", 4), rows(4), min_delta=2, on_fold=told.append)

    for number in range(2):
        index.upsert(names(f"n{number}-", 3), rows(3))
        index.settle()

    assert len(told) == 2
    assert all(seconds is not None and seconds > 0 for seconds in told)


def test_foldings_that_fail_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """None stands for one that failed; the rows stay where they are."""
    told: list[float | None] = []
    made = 0

    def make(matrix: Matrix) -> ExactEngine:
        nonlocal made
        made += 1
        if made > 1:
            raise MemoryError
        return ExactEngine(matrix)

    index = SegmentedIndex(names("m", 4), rows(4), make_engine=make, min_delta=2, on_fold=told.append)
    index.upsert(names("n", 3), rows(3))
    index.settle()

    assert told == [None]
    assert index.state == IndexState(main=4, delta=3)
    assert "index_folding_failed" in caplog.text


def test_an_index_in_memory_is_one_segment() -> None:
    """It has nothing that is gone, and remembers nothing."""
    index = MemoryIndex(names("m", 4), rows(4))

    index.remove(["m0"])

    assert index.state == IndexState(main=3)
