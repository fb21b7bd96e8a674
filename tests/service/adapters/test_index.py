"""Conformance of every VectorIndex, and segments against brute force."""

import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.adapters.background import Workers
from service.adapters.exact_scan import Batch, Found
from service.adapters.integer_engine import IntegerEngine
from service.adapters.memory import MemoryIndex
from service.adapters.ranking import exact_scores
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import ExactEngine
from service.domain import Matrix, Vector
from service.ports import VectorIndex
from service.queries import Hits, IndexState, Mark, Query

D = 3
MakeIndex = Callable[..., VectorIndex]


def expected(
    items: dict[str, Vector],
    query: Vector,
    k: int,
    exclude: frozenset = frozenset(),
    allow: frozenset[str] | None = None,
) -> list:
    """The specification: all that may be returned, by score descending, then id."""
    kept = [i for i in items if i not in exclude and (allow is None or i in allow)]
    scored = [(-float(exact_scores(items[i][None], query)[0]), i) for i in kept]
    return [(i, -s) for s, i in sorted(scored)][:k]


def found(index: VectorIndex, *args: object, **options: object) -> list:
    """Hits as pairs."""
    return [(hit.item_id, hit.score) for hit in index.search(*args, **options)]


def vectors(*rows: list[float]) -> Matrix:
    """A float32 matrix of 3 columns."""
    return np.array(rows, dtype=np.float32).reshape(-1, D)


def folding(item_ids: list[str], rows: Matrix) -> SegmentedIndex:
    """An index that folds its segments all the time."""
    return SegmentedIndex(item_ids, rows, min_delta=2)


def integer(item_ids: list[str], rows: Matrix) -> SegmentedIndex:
    """An index that looks at eight bits of each number first."""
    return SegmentedIndex(item_ids, rows, make_engine=IntegerEngine, min_delta=2)


@pytest.fixture(params=[MemoryIndex, SegmentedIndex, folding, integer], ids=lambda make: make.__name__)
def make_index(request: pytest.FixtureRequest) -> MakeIndex:
    """Each implementation in turn."""
    return request.param


QUERY = np.array([1, 0, 0], np.float32)


def test_search_orders_by_score_then_id(make_index: MakeIndex) -> None:
    """The best come first, and equal scores are ordered by id, also where the list ends among them."""
    index = make_index(["d", "b", "a", "c"], vectors([2, 0, 0], [1, 5, 0], [1, 0, 9], [1, 1, 1]))

    assert found(index, QUERY, 2) == [("d", 2.0), ("a", 1.0)]
    assert found(index, QUERY, 10) == [("d", 2.0), ("a", 1.0), ("b", 1.0), ("c", 1.0)]


def test_search_of_an_empty_index_is_empty(make_index: MakeIndex) -> None:
    """Nothing in, nothing out; and it can still be filled."""
    index = make_index([], vectors())

    assert found(index, QUERY, 5) == []
    index.upsert(["a"], vectors([1, 0, 0]))
    assert (found(index, QUERY, 5), len(index)) == ([("a", 1.0)], 1)


def test_search_of_no_places_is_empty(make_index: MakeIndex) -> None:
    """K = 0 gives an empty list."""
    assert found(make_index(["a"], vectors([1, 0, 0])), QUERY, 0) == []


def test_upsert_replaces(make_index: MakeIndex) -> None:
    """The last vector of an id holds, also within one call; doing it again changes nothing."""
    index = make_index(["a", "b"], vectors([1, 0, 0], [2, 0, 0]))

    for _ in range(2):
        index.upsert(["a", "c", "a"], vectors([9, 0, 0], [4, 0, 0], [3, 0, 0]))

    assert found(index, QUERY, 5) == [("c", 4.0), ("a", 3.0), ("b", 2.0)]
    assert len(index) == 3


def test_removed_items_are_gone_until_put_again(make_index: MakeIndex) -> None:
    """Removal takes from both segments, ignores unknown ids, and does not forbid a return."""
    index = make_index(["a", "b"], vectors([1, 0, 0], [2, 0, 0]))
    index.upsert(["c"], vectors([3, 0, 0]))

    index.remove(["a", "c", "nobody"])
    index.remove(["a"])

    assert (found(index, QUERY, 5), len(index)) == ([("b", 2.0)], 1)
    index.upsert(["a"], vectors([5, 0, 0]))
    assert (found(index, QUERY, 5), len(index)) == ([("a", 5.0), ("b", 2.0)], 2)


def test_exclude_and_allow_restrict(make_index: MakeIndex) -> None:
    """Excluded ids stay out, only allowed ones come in, unknown ids are ignored in both."""
    index = make_index(["a", "b", "c"], vectors([1, 0, 0], [2, 0, 0], [3, 0, 0]))
    index.upsert(["d"], vectors([4, 0, 0]))

    assert found(index, QUERY, 5, exclude=["c", "d", "x"]) == [("b", 2.0), ("a", 1.0)]
    assert found(index, QUERY, 5, allow=["a", "d", "x"]) == [("d", 4.0), ("a", 1.0)]
    assert found(index, QUERY, 5, allow=["a", "d"], exclude=["d"]) == [("a", 1.0)]
    assert found(index, QUERY, 5, allow=[]) == []


def test_upsert_refuses_other_shapes(make_index: MakeIndex) -> None:
    """Vectors of another size are refused, and nothing is changed."""
    index = make_index(["a"], vectors([1, 0, 0]))

    with pytest.raises(ValueError, match="expected vectors"):
        index.upsert(["b"], np.zeros((1, D + 1), np.float32))

    assert len(index) == 1


def test_thousands_of_equal_vectors_are_ordered_by_id(make_index: MakeIndex) -> None:
    """Items without any modality share one embedding: the first ids come first, in whichever segment they are."""
    n = 3000
    ids = [f"x{n - i:05}" for i in range(n)]
    rows = np.tile(np.array([0.1, 0.2, 0.3], np.float32), (n, 1))
    index = make_index(ids[: n // 2], rows[: n // 2])
    index.upsert(ids[n // 2 :], rows[n // 2 :])

    got = index.search(np.array([0.3, 0.7, 0.11], np.float32), 20)

    assert [hit.item_id for hit in got] == sorted(ids)[:20]
    assert len({hit.score for hit in got}) == 1


SMALL = st.integers(-2, 2).map(float)
WIDE = st.floats(-8, 8, width=32)
ROW = st.lists(st.one_of(SMALL, WIDE), min_size=D, max_size=D).map(lambda row: np.array(row, np.float32))
IDS = st.sampled_from([f"i{n}" for n in range(12)])


@given(
    first=st.dictionaries(IDS, ROW),
    later=st.dictionaries(IDS, ROW),
    query=ROW,
    k=st.integers(1, 8),
    exclude=st.frozensets(IDS),
    allow=st.none() | st.frozensets(IDS),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_search_equals_brute_force(
    make_index: MakeIndex,
    first: dict[str, Vector],
    later: dict[str, Vector],
    query: Vector,
    k: int,
    exclude: frozenset[str],
    allow: frozenset[str] | None,
) -> None:
    """Whatever is stored and asked, the answer is that of sorting everything, ties included."""
    index = make_index(list(first), vectors(*first.values()))
    index.upsert(list(later), vectors(*later.values()))

    got = found(index, query, k, exclude=exclude, allow=allow)

    assert got == expected(first | later, query, k, exclude, allow)
    assert len(index) == len(first | later)


@given(
    first=st.dictionaries(IDS, ROW),
    later=st.dictionaries(IDS, ROW),
    query=ROW,
    exclude=st.frozensets(st.integers(0, 11)),
    allow=st.none() | st.frozensets(IDS),
    allow_rows=st.none() | st.frozensets(st.integers(0, 11)),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_restrict_as_ids_do(
    make_index: MakeIndex,
    first: dict[str, Vector],
    later: dict[str, Vector],
    query: Vector,
    exclude: frozenset[int],
    allow: frozenset[str] | None,
    allow_rows: frozenset[int] | None,
) -> None:
    """Places among the first items stand for their ids, beside other ids, and whatever was written since."""
    index, ids = make_index(list(first), vectors(*first.values())), list(first)
    index.upsert(list(later), vectors(*later.values()))
    exclude, allow_rows = (rows and frozenset(row for row in rows if row < len(ids)) for rows in (exclude, allow_rows))
    allowed = allow
    if allow_rows is not None:
        allowed = frozenset(ids[row] for row in allow_rows) | (allow or frozenset())

    as_array = None if allow_rows is None else np.array(sorted(allow_rows), dtype=np.int32)
    excluded_rows = np.array(sorted(exclude), dtype=np.int32)
    asked = Query(query, 4, (), allow, excluded_rows, allow_rows=as_array)
    (hits,) = index.search_many([asked])

    excluded = frozenset(ids[row] for row in exclude)
    assert [tuple(hit) for hit in hits] == expected(first | later, query, 4, excluded, allowed)


def test_search_equals_brute_force_at_size() -> None:
    """With thousands of near-equal scores, far apart in the two segments, the order is still exact."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=(40, 64)).astype(np.float32)
    rows = base[rng.integers(0, 40, 5000)] + rng.choice([0, 1e-7], size=(5000, 1)).astype(np.float32)
    items = {f"i{n:05}": row for n, row in enumerate(rows)}
    ids = list(items)
    index = SegmentedIndex(ids[:3000], rows[:3000])
    index.upsert(ids[3000:], rows[3000:])

    for k in (1, 20, 500):
        query = rng.normal(size=64).astype(np.float32)
        exclude = frozenset(rng.choice(ids, 200))

        assert found(index, query, k, exclude=exclude) == expected(items, query, k, exclude)


class IndexMachine(RuleBasedStateMachine):
    """Any sequence of changes to an index leaves it equal to a dict."""

    @initialize(first=st.dictionaries(IDS, ROW))
    def start(self, first: dict[str, Vector]) -> None:
        """Builds both."""
        self.items = dict(first)
        self.tastes: dict[str, Vector] = {}
        self.held: dict[str, tuple[Query, Hits, Mark]] = {}
        self.index = SegmentedIndex(
            list(first),
            vectors(*first.values()),
            make_engine=IntegerEngine,
            min_delta=3,
            remembered=4,
        )

    @rule(changes=st.dictionaries(IDS, ROW, max_size=4))
    def upsert(self, changes: dict[str, Vector]) -> None:
        """Adds or replaces."""
        self.items |= changes
        self.index.upsert(list(changes), vectors(*changes.values()))

    @rule(gone=st.lists(IDS, max_size=4))
    def remove(self, gone: list[str]) -> None:
        """Removes."""
        for item_id in gone:
            self.items.pop(item_id, None)
        self.index.remove(gone)

    @rule(query=ROW, k=st.integers(1, 12), exclude=st.frozensets(IDS, max_size=4))
    def search(self, query: Vector, k: int, exclude: frozenset[str]) -> None:
        """Finds the same."""
        assert found(self.index, query, k, exclude=exclude) == expected(self.items, query, k, exclude)

    @rule(query=ROW, k=st.integers(1, 6), exclude=st.frozensets(IDS, max_size=3), key=st.sampled_from("uvwxyz"))
    def ask_again(self, query: Vector, k: int, exclude: frozenset[str], key: str) -> None:
        """What is remembered is what a search would find; who asks for the first time is remembered afterwards."""
        vector = self.tastes.setdefault(key, query)
        asked = Query(vector, k, exclude, key=key)
        known = self.index.recall(asked)

        hits = known if known is not None else self.index.search_many([asked])[0]

        assert [tuple(hit) for hit in hits] == expected(self.items, vector, k, exclude)
        assert hits.found_at is not None
        self.held[key] = (asked, hits, hits.found_at)

    @rule(key=st.sampled_from("uvwxyz"))
    def hold_on(self, key: str) -> None:
        """What is said to hold still is what a search would find."""
        if key in self.held:
            asked, hits, since = self.held[key]
            if mark := self.index.holds(asked, hits, since):
                exclude = frozenset(asked.exclude)
                assert [tuple(hit) for hit in hits] == expected(self.items, asked.vector, asked.k, exclude)
                self.held[key] = (asked, hits, mark)

    @invariant()
    def equal_size(self) -> None:
        """Holds as many."""
        if hasattr(self, "index"):
            assert len(self.index) == len(self.items)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_searches_during_writes_never_return_what_is_excluded() -> None:
    """While a writer moves items between segments, readers keep getting full lists without excluded ids."""
    ids = [f"i{n:03}" for n in range(200)]
    rng = np.random.default_rng(0)
    index = SegmentedIndex(ids, rng.normal(size=(200, D)).astype(np.float32), min_delta=8)
    stop = threading.Event()
    faults: list[object] = []

    def read() -> None:
        while not stop.is_set():
            hits = index.search(QUERY, 10, exclude=ids[:100])
            if len(hits) != 10 or any(hit.item_id < "i100" for hit in hits):
                faults.append(hits)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(400):
        index.upsert([ids[n % 200]], rng.normal(size=(1, D)).astype(np.float32))
    stop.set()
    for reader in readers:
        reader.join()

    assert not faults


def remembering(n: int = 500) -> tuple[SegmentedIndex, dict[str, Vector], Query]:
    """An index that remembers, what is in it, and a query with a key that has been asked once."""
    rows = np.random.default_rng(5).normal(size=(n, D)).astype(np.float32)
    items = {f"i{number:04}": row for number, row in enumerate(rows)}
    index = SegmentedIndex(list(items), rows, remembered=3)
    query = Query(QUERY, 5, frozenset({"i0007"}), None, np.array([1, 2, 3]), "u")
    assert index.recall(query) is None
    index.search_many([query])
    return index, items, query


def told(items: dict[str, Vector], query: Query, exclude: frozenset[str] = frozenset()) -> list:
    """What ``remembering``'s query must give."""
    return expected(items, query.vector, query.k, exclude | {"i0007", "i0001", "i0002", "i0003"})


def test_who_asks_again_is_answered_without_a_search() -> None:
    """Also after items were taken away and added, of those the user saw meanwhile, and for a shorter list."""
    index, items, query = remembering()
    best = [item_id for item_id, _ in told(items, query)]

    assert [tuple(hit) for hit in index.recall(query) or ()] == told(items, query)
    index.remove(best[:2])
    index.upsert(["new", best[2]], vectors([9, 0, 0], [-9, 0, 0]))
    items = {i: v for i, v in items.items() if i not in best[:2]} | {"new": vectors([9, 0, 0])[0]}
    items[best[2]] = vectors([-9, 0, 0])[0]
    assert [tuple(hit) for hit in index.recall(query) or ()] == told(items, query)
    seen = query._replace(exclude=frozenset({"i0007", "new"}), k=3)
    assert [tuple(hit) for hit in index.recall(seen) or ()] == told(items, seen, frozenset({"new"}))


@pytest.mark.parametrize(
    "other",
    [
        {"vector": np.array([0, 1, 0], np.float32)},
        {"exclude": frozenset()},
        {"key": "v"},
        {"key": None},
        {"allow": ["i0001"]},
        {"allow_rows": np.array([1])},
        {"k": 100},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_question_is_searched_for(other: dict) -> None:
    """What was found says nothing of another taste, of fewer exclusions, of somebody else, nor of what lies beyond."""
    index, _, query = remembering()

    assert index.recall(query._replace(**other)) is None


def test_what_is_remembered_ends() -> None:
    """With too many changes, with too many of its items gone, once segments are folded, and as others come."""
    index, items, query = remembering()
    index.remove([item_id for item_id, _ in expected(items, QUERY, 25)])
    assert index.recall(query) is None

    index, _, query = remembering()
    index.upsert([f"n{n}" for n in range(4000)], np.zeros((4000, D), np.float32))
    assert index.recall(query) is not None
    index.upsert([f"n{n}" for n in range(5000)], np.zeros((5000, D), np.float32))
    assert index.recall(query) is None

    index, _, query = remembering()
    for key in "abc":
        index.search_many([query._replace(key=key)])
    assert index.recall(query) is None
    assert index.recall(query._replace(key="c")) is not None


def test_what_is_remembered_is_out_of_the_collections_sight() -> None:
    """Hundreds of thousands of lists, none of them garbage: to look through them would stop everything else."""
    rows = np.random.default_rng(5).normal(size=(100, D)).astype(np.float32)
    index = SegmentedIndex([f"i{n}" for n in range(100)], rows, remembered=2000)
    queries = [Query(row, 5, frozenset({"i7"}), key=f"u{n}") for n, row in enumerate(np.tile(rows, (10, 1)))]
    index.search_many(queries[:1])
    gc.collect()
    before = len(gc.get_objects())

    index.search_many(queries)

    gc.collect()
    assert index.state.remembered == len(queries)
    assert len(gc.get_objects()) - before < 50


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

    assert found(index, QUERY, 100) == expected(items, QUERY, 100)
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


def test_segments_that_were_folded_are_let_go() -> None:
    """What is remembered outlives them, and does not keep them in memory."""
    index, items, query = remembering()
    main = weakref.ref(index._view.main.engine)
    rows = np.zeros((3000, D), np.float32)
    rows[7] = [9, 0, 0]

    index.upsert([f"n{n}" for n in range(3000)], rows)
    index.remove([f"n{n}" for n in range(100, 1000)])
    index._fold()

    gc.collect()
    assert main() is None
    items |= {f"n{n}": row for n, row in enumerate(rows) if not 100 <= n < 1000}
    known = index.recall(query)
    assert [tuple(hit) for hit in known or ()] == told(items, query)
