"""Lists that an index remembers for those who ask again."""

import gc
import weakref

import numpy as np
import pytest

from service.adapters.memory import MemoryIndex
from service.adapters.segmented_index import SegmentedIndex
from service.domain import Vector
from service.queries import Query

D = 3
QUERY = np.array([1, 0, 0], np.float32)


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
    index = MemoryIndex(list(items), np.stack(list(items.values())))
    seen = exclude | {"i0007", "i0001", "i0002", "i0003"}
    return [tuple(hit) for hit in index.search(query.vector, query.k, exclude=seen)]


def test_who_asks_again_is_answered_without_a_search() -> None:
    """Also after items were taken away and added, of those the user saw meanwhile, and for a shorter list."""
    index, items, query = remembering()
    best = [item_id for item_id, _ in told(items, query)]

    assert [tuple(hit) for hit in index.recall(query) or ()] == told(items, query)
    index.remove(best[:2])
    index.upsert(["new", best[2]], np.array([[9, 0, 0], [-9, 0, 0]], np.float32))
    items = {i: v for i, v in items.items() if i not in best[:2]} | {"new": np.array([9, 0, 0], np.float32)}
    items[best[2]] = np.array([-9, 0, 0], np.float32)
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
    index.remove([item_id for item_id, _ in told(items, query._replace(k=25))])
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
