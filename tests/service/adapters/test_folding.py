"""Segments that are folded into one, and engines that fail."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from service.adapters.background import Workers
from service.adapters.exact_scan import Batch, Found
from service.adapters.integer_engine import IntegerEngine
from service.adapters.memory import MemoryIndex
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import ExactEngine
from service.domain import Matrix, Vector
from service.ports import VectorIndex
from service.queries import IndexState

D = 3
QUERY = np.array([1, 0, 0], np.float32)


def found(index: VectorIndex, query: Vector, k: int) -> list:
    """Hits as pairs."""
    return [tuple(hit) for hit in index.search(query, k)]


def vectors(*rows: list[float]) -> Matrix:
    """A float32 matrix of 3 columns."""
    return np.array(rows, dtype=np.float32).reshape(-1, D)


def test_folding_keeps_what_is_written_meanwhile() -> None:
    """While segments are folded, writers go on; afterwards nothing is lost, doubled or back again."""
    rng = np.random.default_rng(8)
    ids = [f"i{n:03}" for n in range(60)]
    items: dict[str, Vector] = {}
    index = SegmentedIndex([], np.zeros((0, D), np.float32), make_engine=IntegerEngine, min_delta=4)
    for _ in range(400):
        item_id = str(rng.choice(ids))
        if rng.random() < 0.3:
            items.pop(item_id, None)
            index.remove([item_id])
        else:
            items[item_id] = rng.normal(size=D).astype(np.float32)
            index.upsert([item_id], items[item_id][None])
    index.settle()

    same = MemoryIndex(list(items), np.stack(list(items.values())))
    assert found(index, QUERY, 100) == found(same, QUERY, 100)
    assert len(index) == len(items)


def test_failed_folding_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Where no new main segment can be made, the old ones answer on, and it is tried again with the next write."""
    made: list[int] = []

    def make_engine(matrix: Matrix) -> ExactEngine:
        made.append(len(matrix))
        if len(made) == 2:
            raise MemoryError
        return ExactEngine(matrix)

    index = SegmentedIndex(["a"], vectors([1, 0, 0]), make_engine=make_engine, min_delta=1)
    index.upsert(["b", "c"], vectors([2, 0, 0], [3, 0, 0]))
    index.settle()
    assert found(index, QUERY, 5) == [("c", 3.0), ("b", 2.0), ("a", 1.0)]
    assert "index_folding_failed" in caplog.text

    index.remove(["c"])
    index.settle()
    assert (found(index, QUERY, 5), made) == ([("b", 2.0), ("a", 1.0)], [1, 3, 2])


def test_folding_ends_with_its_workers() -> None:
    """Closing waits for the step under way; nothing is folded from then on, and what is written counts as ever."""
    workers, begun, goes_on = Workers(), threading.Event(), threading.Event()
    made: list[int] = []

    def make_engine(matrix: Matrix) -> ExactEngine:
        made.append(len(matrix))
        if len(made) == 2:
            begun.set()
            goes_on.wait(10)
        return ExactEngine(matrix)

    index = SegmentedIndex(["a"], vectors([1, 0, 0]), make_engine=make_engine, min_delta=1, workers=workers)
    index.upsert(["b", "c"], vectors([2, 0, 0], [3, 0, 0]))
    assert begun.wait(10)
    closing = threading.Thread(target=workers.close)
    closing.start()
    while not workers.ended:
        pass
    assert closing.is_alive()
    goes_on.set()
    closing.join(10)

    assert not closing.is_alive()
    assert index.state.main == 3
    index.upsert(["d", "e"], vectors([4, 0, 0], [5, 0, 0]))
    index.remove(["a", "b", "c"])
    index.settle()
    assert (found(index, QUERY, 5), made) == ([("e", 5.0), ("d", 4.0)], [1, 3])


def test_folding_that_has_not_come_to_the_engine_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before that, once its workers are closed; the segments stay as they were."""
    workers, told = Workers(), list[float | None]()
    index = SegmentedIndex(["a"], vectors([1, 0, 0]), min_delta=1, on_fold=told.append, workers=workers)
    start = workers.start

    def start_late(work: Callable[[], object], name: str) -> threading.Thread | None:
        return start(lambda: (workers._ended.set(), work()), name)  # white box

    monkeypatch.setattr(workers, "start", start_late)
    index.upsert(["b", "c"], vectors([2, 0, 0], [3, 0, 0]))
    index.settle()

    assert told == []
    assert index.state == IndexState(main=1, delta=2)


class FrailEngine(ExactEngine):
    """Works until its device is lost."""

    lost = False

    def find(self, batch: Batch) -> Found:
        """What the exact one finds."""
        if FrailEngine.lost:
            raise RuntimeError("the device is gone")
        return super().find(batch)


def test_lost_engine_is_done_without(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Searches go on, exactly, and the index says so; the next main segment is given an engine again."""
    index = SegmentedIndex(["a", "b"], vectors([1, 0, 0], [2, 0, 0]), make_engine=FrailEngine, min_delta=1)
    assert index.healthy

    monkeypatch.setattr(FrailEngine, "lost", True)
    for _ in range(2):
        assert found(index, QUERY, 5) == [("b", 2.0), ("a", 1.0)]
    assert not index.healthy
    assert [record.message for record in caplog.records] == ["index_engine_lost"]

    monkeypatch.setattr(FrailEngine, "lost", False)
    index.upsert(["c", "d"], vectors([3, 0, 0], [4, 0, 0]))
    index.settle()
    assert index.healthy
    assert found(index, QUERY, 2) == [("d", 4.0), ("c", 3.0)]


def test_engine_that_cannot_be_made_is_done_without() -> None:
    """A device that is not there keeps nobody from searching."""

    def no_device(_: Matrix) -> ExactEngine:
        raise RuntimeError("there is no device")

    index = SegmentedIndex(["a"], vectors([1, 0, 0]), make_engine=no_device)

    assert (found(index, QUERY, 5), index.healthy) == ([("a", 1.0)], False)
