"""Approximate engines and those on a device: what they may miss, and what they may not.

The device is none, but with ``TEST_DEVICE=cuda`` in the environment it is the machine's own.
"""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.adapters.approximate_engines import Graph, Lists
from service.adapters.candidates import LENGTHS, ApproximateEngine, Shown, certain
from service.adapters.exact_scan import Batch, Found, Numbers, scan
from service.adapters.gpu_engines import Device, DeviceFlat, DeviceGraph
from service.adapters.ranking import exact_scores, longest_row, norms_of
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import NONE, Engine, ExactEngine
from service.domain import Matrix

D = 8
MakeEngine = Callable[[Matrix], Engine]


def tastes(n: int, d: int = D, seed: int = 0) -> Matrix:
    """Vectors around some directions."""
    rng = np.random.default_rng(seed)
    around = rng.normal(size=(16, d))
    return (around[rng.integers(16, size=n)] + 0.5 * rng.normal(size=(n, d))).astype(np.float32)


def asked(
    matrix: Matrix, queries: Matrix, k: int, hidden: Numbers = NONE, excluded: list[Numbers] | None = None
) -> Batch:
    """A batch as the index makes it."""
    each = excluded or [NONE] * len(queries)
    flat, by = np.concatenate(each), np.repeat(np.arange(len(each)), [len(rows) for rows in each])
    order = np.argsort(flat, kind="stable")
    return Batch(queries, k, norms_of(queries), longest_row(matrix), hidden, flat[order], by[order])


def rows_of(found: Found, number: int) -> list[int]:
    """Rows found for a query of a batch."""
    return found.rows[found.queries == number].tolist()


def recall(matrix: Matrix, batch: Batch, found: Found) -> float:
    """Share of the exact best that were found."""
    exact, shares = scan(matrix, batch), []
    for number, query in enumerate(batch.queries):
        scores = np.sort(exact_scores(matrix[exact.rows[exact.queries == number]], query))[::-1][: batch.k]
        mine = exact_scores(matrix[found.rows[found.queries == number]], query)
        shares.append(min(len(scores), int((mine >= scores[-1]).sum())) / len(scores) if len(scores) else 1.0)
    return float(np.mean(shares))


def lists(matrix: Matrix) -> Engine:
    """Half of the lists are looked at."""
    index = Lists(matrix)
    return ApproximateEngine(matrix, index, ExactEngine(matrix), index.efforts[-1:] * 3)


def graph(matrix: Matrix) -> Engine:
    """A graph."""
    return ApproximateEngine(matrix, Graph(matrix), ExactEngine(matrix), (256, 512, 512))


@pytest.fixture
def device_graph(device: Device) -> MakeEngine:
    """A graph on a device."""
    return lambda matrix: ApproximateEngine(matrix, DeviceGraph(matrix, device), ExactEngine(matrix), (256, 512, 512))


@pytest.fixture(params=["ivf", "hnsw", "gpu-cagra"])
def approximate(request: pytest.FixtureRequest, device_graph: MakeEngine) -> MakeEngine:
    """Each approximate engine in turn."""
    return {"ivf": lists, "hnsw": graph, "gpu-cagra": device_graph}[request.param]


@pytest.mark.parametrize("k", LENGTHS)
def test_approximate_engines_find_nearly_all(approximate: MakeEngine, k: int) -> None:
    """Of thousands of rows nine in ten of the best at least are found, also where many are hidden and excluded."""
    matrix = tastes(5000)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)  # graphs miss much where lengths differ much
    engine = approximate(matrix)
    rng = np.random.default_rng(2)
    queries = matrix[:12] + 0.1 * rng.normal(size=(12, D)).astype(np.float32)
    hidden = np.sort(rng.choice(5000, 1000, replace=False))
    excluded = [rng.choice(5000, 300, replace=False) if number % 2 else NONE for number in range(12)]

    for batch in (asked(matrix, queries, k), asked(matrix, queries, k, hidden, excluded)):
        found = engine.find(batch)

        assert recall(matrix, batch, found) >= 0.9
        assert {len(rows_of(found, number)) >= k for number in range(12)} == {True}


ROWS = st.integers(1, 300)


@given(data=st.data(), n=ROWS, b=st.integers(1, 4), k=st.integers(1, 140))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_approximate_engines_never_find_what_is_hidden(
    approximate: MakeEngine, data: st.DataObject, n: int, b: int, k: int
) -> None:
    """Whatever is hidden or excluded: it is not found, nothing is found twice, and the list is as long as it can be."""
    matrix = tastes(n, seed=n)
    rows = st.lists(st.integers(0, n - 1), unique=True, max_size=n)
    hidden = np.sort(np.array(data.draw(rows), dtype=np.int64))
    excluded = [np.array(data.draw(rows), dtype=np.int64) for _ in range(b)]
    batch = asked(matrix, tastes(b, seed=n + 1), k, hidden, excluded)

    found = approximate(matrix).find(batch)

    for number in range(b):
        mine = rows_of(found, number)
        left = set(range(n)) - set(hidden.tolist()) - set(excluded[number].tolist())
        assert set(mine) <= left
        assert len(mine) == len(set(mine)) >= min(k, len(left))


class Stingy:
    """Proposes the first rows over and over, hidden ones and what is no row at all."""

    efforts = (1,)

    def propose(self, queries: Matrix, k: int, effort: int, shown: Shown) -> Numbers:
        """Far too few."""
        del effort, shown
        return np.tile(np.resize([0, 1, 1, -1, 10**9], k), (len(queries), 1))


def test_shortfall_is_searched_exactly() -> None:
    """What proposes too little, or nonsense, costs time and nothing else."""
    matrix, queries = tastes(200), tastes(3, seed=1)
    batch = asked(matrix, queries, 10, np.array([0, 5]), [NONE, np.array([1, 2]), NONE])

    found = ApproximateEngine(matrix, Stingy(), ExactEngine(matrix), (1,)).find(batch)

    assert recall(matrix, batch, found) == 1
    assert {0, 5} & set(found.rows.tolist()) == set()
    assert {1, 2} & set(rows_of(found, 1)) == set()


def test_lists_longer_than_measured_are_exact() -> None:
    """And so are those of a length for which no effort was enough."""
    matrix, queries = tastes(2000), tastes(2, seed=1)
    index = Lists(matrix)
    engine = ApproximateEngine(matrix, index, ExactEngine(matrix), index.efforts[:1])  # for the first length alone

    short, long = (asked(matrix, queries, k) for k in (LENGTHS[0], LENGTHS[0] + 1))

    assert recall(matrix, short, engine.find(short)) < 1
    assert recall(matrix, long, engine.find(long)) == 1


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
@given(data=st.data(), n=ROWS, b=st.integers(1, 4), k=st.integers(1, 40), scale=st.sampled_from([1e-6, 1.0, 1e4]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flat_engine_on_a_device_is_exact(
    device: Device, half: bool, data: st.DataObject, n: int, b: int, k: int, scale: float
) -> None:
    """With ties, near-ties and anything hidden: all the best are found, though scores are rounded to 16 bits."""
    rng = np.random.default_rng(n)
    matrix = (tastes(8, seed=n)[rng.integers(8, size=n)] + rng.choice([0, 1e-4], size=(n, 1))).astype(np.float32)
    matrix = (scale * matrix).astype(np.float32)
    rows = st.lists(st.integers(0, n - 1), unique=True, max_size=n)
    hidden = np.sort(np.array(data.draw(rows), dtype=np.int64))
    excluded = [np.array(data.draw(rows), dtype=np.int64) for _ in range(b)]
    batch = asked(matrix, tastes(b, seed=n + 1), k, hidden, excluded)

    found = DeviceFlat(matrix, device, ExactEngine(matrix), half=half).find(batch)

    assert recall(matrix, batch, found) == 1
    for number in range(b):
        assert not set(rows_of(found, number)) & {*hidden.tolist(), *excluded[number].tolist()}


@pytest.mark.parametrize("half", [True, False], ids=["fp16", "fp32"])
def test_device_is_asked_where_it_can_tell(device: Device, half: bool) -> None:
    """Ordinary lists come from the device; lists beyond its limit, and numbers beyond its precision, do not."""
    matrix, queries = tastes(6000), tastes(4, seed=1)
    counted: list[int] = []

    class Counted(ExactEngine):
        def find(self, batch: Batch) -> Found:
            counted.append(batch.k)
            return super().find(batch)

    engine = DeviceFlat(matrix, device, Counted(matrix), half=half)
    hidden, excluded = np.arange(0, 6000, 3), [np.arange(500), NONE, NONE, NONE]

    found = engine.find(asked(matrix, queries, 20, hidden, excluded))
    assert counted == []
    assert recall(matrix, asked(matrix, queries, 20, hidden, excluded), found) == 1
    for batch in (asked(matrix, queries, 3000), asked(matrix, (1e6 * queries).astype(np.float32), 21)):
        assert recall(matrix, batch, engine.find(batch)) == 1
    assert counted == ([3000, 21] if half else [3000])


def test_what_rounding_leaves_open_is_told() -> None:
    """Where a row that was not fetched may be better than the k-th of those that were, the query is not settled."""
    matrix = np.ones((10, D), np.float32)
    batch = asked(matrix, np.ones((2, D), np.float32), 2)
    scores = np.array([[8, 8, 8], [8, 8, 6]], np.float32)
    rows = np.array([[0, 1, 2], [3, 4, 5]])

    found, open_still = certain(batch, scores, rows, Shown(10), np.array([0.5, 0.5]))

    assert open_still.tolist() == [0]
    assert (found.queries.tolist(), found.rows.tolist()) == ([1, 1], [3, 4])
    assert certain(batch, scores, rows, Shown(10), np.array([0.5, 1.0]))[1].tolist() == [0, 1]


def test_certain_needs_rows_that_are_rows() -> None:
    """An index that gives hidden rows or none is not believed in anything, nor one that gives fewer than k."""
    batch = asked(np.ones((10, D), np.float32), np.ones((2, D), np.float32), 1)
    scores, rows = np.array([[9, 1], [9, 1]], np.float32), np.array([[0, 7], [3, -1]])

    assert certain(batch, scores, rows, Shown.but(10, np.array([7])), np.zeros(2))[1].tolist() == [0, 1]
    assert certain(batch, scores[:, :0], rows[:, :0], Shown(10), np.zeros(2))[1].tolist() == [0, 1]


@given(n=st.integers(1, 3000), data=st.data())
def test_shown_rows_are_all_but_those_taken(n: int, data: st.DataObject) -> None:
    """Bits say of each number whether it is a row that may be found."""
    hidden = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), dtype=np.int64)
    numbers = np.arange(-3, n + 20)

    found = Shown.but(n, hidden).has(numbers)

    assert found.tolist() == ((numbers >= 0) & (numbers < n) & ~np.isin(numbers, hidden)).tolist()


def test_index_with_an_approximate_engine_takes_changes(approximate: MakeEngine) -> None:
    """What is written and removed is right at once, and folding makes a new engine."""
    rows = tastes(600)
    ids = [f"i{n:03}" for n in range(600)]
    index = SegmentedIndex(ids, rows, make_engine=approximate, min_delta=50)
    best = index.search(rows[0], 5)

    index.remove([hit.item_id for hit in best])
    index.upsert(["new"], 100 * rows[:1])
    assert index.search(rows[0], 1)[0].item_id == "new"
    assert {hit.item_id for hit in best}.isdisjoint(hit.item_id for hit in index.search(rows[0], 32))
    index.upsert([f"n{n}" for n in range(200)], tastes(200, seed=9))
    index.settle()

    hits = index.search(rows[0], 32)
    assert (len(hits), len(index), index.healthy, hits[0].item_id) == (32, 796, True, "new")
