"""Conformance of every VectorIndex, and segments against brute force."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.adapters.integer_engine import IntegerEngine
from service.adapters.memory import MemoryIndex
from service.adapters.ranking import exact_scores
from service.adapters.segmented_index import SegmentedIndex
from service.domain import Matrix, Vector
from service.ports import VectorIndex
from service.queries import Hits, Mark, Query

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


def test_more_places_than_items_are_given_all(make_index: MakeIndex) -> None:
    """However many are asked for."""
    index = make_index(["a", "b"], vectors([1, 0, 0], [2, 0, 0]))

    assert found(index, QUERY, 1 << 60) == [("b", 2.0), ("a", 1.0)]
    assert found(index, QUERY, 1 << 60, allow=["a"]) == [("a", 1.0)]


def test_queries_of_another_size_are_refused() -> None:
    """The engine is not to blame for them."""
    index = SegmentedIndex(["a"], vectors([1, 0, 0]))

    with pytest.raises(ValueError, match="expected a vector of 3 numbers"):
        index.search(np.ones(4, np.float32), 1)
    assert index.healthy


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
        self.seen: dict[str, frozenset[str]] = {}
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

    @rule(query=ROW, k=st.integers(1, 6), more=st.frozensets(IDS, max_size=1), key=st.sampled_from("uvwxyz"))
    def ask_again(self, query: Vector, k: int, more: frozenset[str], key: str) -> None:
        """What is remembered is what a search would find; who asks for the first time is remembered afterwards."""
        vector = self.tastes.setdefault(key, query)
        exclude = self.seen[key] = self.seen.get(key, frozenset()) | more
        asked = Query(vector, k, exclude, key=key)
        known = self.index.recall(asked)

        hits = known if known is not None else self.index.search_many([asked])[0]

        assert [tuple(hit) for hit in hits] == expected(self.items, vector, k, exclude)
        assert hits.found_at is not None
        self.held[key] = (asked, hits, hits.found_at)

    @rule(row=ROW, k=st.integers(1, 6), key=st.sampled_from("uvwxyz"))
    def write_what_was_seen(self, row: Vector, k: int, key: str) -> None:
        """Who asks the same again does not find it."""
        if seen := self.seen.get(key):
            self.upsert({min(seen): row})
            self.ask_again(row, k, frozenset(), key)

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
