"""The log of changes: what is at hand, since when, and what has been changed again."""

import numpy as np
import pytest

from service.adapters import kernels
from service.adapters.changes import Changes
from service.adapters.segmented_index import SegmentedIndex
from service.queries import Query

D = 2


def rows(*numbers: float) -> np.ndarray:
    """Vectors that tell who they are."""
    return np.array([[number, 1] for number in numbers], np.float32)


def test_a_moment_stays_what_it_was() -> None:
    """Later writes, in the same memory or in other, are none of its business; but that slots changed later is told."""
    changes = Changes(D, kept=4)
    changes.written([3, 5], rows(3, 5))
    before = changes.now

    changes.written([5], rows(50))
    changes.lost([3])
    for number in range(100, 120):
        changes.written([number], rows(number))

    assert (before.total, before.rows, before.slots.tolist()) == (2, 2, [3, 5])
    assert before.vectors.tolist() == rows(3, 5).tolist()
    assert (before.last_changes(np.array([5, 7, 900])) > before.total).tolist() == [True, False, False]
    assert changes.now.last_changes(np.array([3, 5, 100, 900])).tolist() == [4, 3, 5, 0]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 9, 40])
def test_the_latest_rows_are_at_hand(size: int) -> None:
    """As many as are to be kept, at least, and no more than twice as many and what came at once; each with its slot."""
    changes, given = Changes(D, kept=70), 0
    while given < 400:
        changes.written(range(given, given + size), rows(*range(given, given + size)))
        given += size
        now = changes.now

        assert now.rows == given
        assert now.first + len(now.slots) == given
        assert min(70, given) <= len(now.slots) <= 2 * 70 + size
        assert now.slots.tolist() == list(range(now.first, given))
        assert now.vectors[:, 0].tolist() == now.slots.tolist()
        assert now.counts.tolist() == [slot + 1 for slot in now.slots.tolist()]
    assert now.longest == pytest.approx(np.hypot(given - 1, 1))


def test_a_long_row_is_forgotten_once_it_is_not_at_hand() -> None:
    """As long as it is, much may reach a score; afterwards no more than before."""
    changes = Changes(D, kept=3)
    changes.written([1], rows(1e6))
    while changes.now.first == 0:
        assert changes.now.longest > 1e5
        changes.written([2], rows(2))

    assert changes.now.longest == pytest.approx(np.hypot(2, 1))


def test_more_at_once_than_are_kept() -> None:
    """They are all at hand, and what was before is not."""
    changes = Changes(D, kept=3)
    changes.written([1], rows(1))

    changes.written(range(10, 90), rows(*range(10, 90)))

    assert (changes.now.first, changes.now.slots.tolist()) == (1, list(range(10, 90)))


@pytest.mark.parametrize("kinds", [(), kernels.KINDS])
def test_lists_are_brought_up_to_date_over_foldings(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was written, replaced and taken away meanwhile, and whoever looks at the rows; against a search."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    rng = np.random.default_rng(5)
    ids = [f"i{n}" for n in range(500)]
    index = SegmentedIndex(ids, rng.normal(size=(500, D)).astype(np.float32), min_delta=20, remembered=100)
    fresh = SegmentedIndex(ids, index._view.main.matrix, remembered=0)
    query = Query(np.array([1, 0.3], np.float32), 10, exclude_rows=np.array([4, 8]), key="u")
    index.search_many([query])
    recalled = 0
    for step in range(120):
        names = [f"i{n}" for n in rng.integers(0, 700, 3)]
        vectors = rng.normal(size=(3, D)).astype(np.float32)
        for each in (index, fresh):
            if step % 3:
                each.upsert(names, vectors)
            else:
                each.remove(names)
        if not step % 10:
            index.settle()
        known = index.recall(query)
        recalled += known is not None
        assert (known or index.search_many([query])[0]) == fresh.search_many([query._replace(key=None)])[0]

    assert recalled > 100
