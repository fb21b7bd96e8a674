"""What of a remembered list is right in spite of what was written since."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters import kernels
from service.adapters.changes import Changes, Moment
from service.adapters.ranked import Ranked
from service.adapters.remembered import Remembered
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.standing import still_right
from service.queries import Query

D = 2
QUERY = Query(np.array([1, 0.5], np.float32), 3, key="u")
WAYS = pytest.mark.parametrize("kinds", [(), *([kernels.KINDS] if kernels.KINDS else [])], ids=["numpy", "c"])


def names(slots: Any) -> list[str]:
    """The ids of slots."""
    return [f"i{slot}" for slot in slots]


def remembered(changes: Moment, *scores: float, whole: bool = False) -> Remembered:
    """A list of the slots 0, 1, … with these scores, found at a moment."""
    ranked = Ranked(np.arange(len(scores)), np.array(scores, dtype=np.float64))
    return Remembered.of(QUERY, changes, ranked, whole=whole)


def told(found: Remembered) -> list[int]:
    """The slots of a list."""
    return found.ranked.slots.tolist()


@WAYS
def test_places_beyond_what_was_written_stand(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that score more than the best of it; one as good may belong after it."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3, whole=True)

    assert still_right(found, changes.now, QUERY, names) is found
    changes.written([8], np.array([[1, 0]], np.float32))
    after = still_right(found, changes.now, QUERY, names)
    assert (told(after), after.whole, after.changes, after.rows) == ([0, 1, 2, 3], False, 1, 1)
    changes.written([9, 10], np.array([[4, 0], [0, 1]], np.float32))
    assert told(still_right(found, changes.now, QUERY, names)) == [0, 1]
    assert told(still_right(after, changes.now, QUERY, names)) == [0, 1]


@WAYS
def test_what_was_changed_itself_is_left_out(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone, or is among what was written; slots that are newer than the log were never changed."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.lost([1])
    changes.written([2], np.array([[-4, 0]], np.float32))

    assert told(still_right(found, changes.now, QUERY, names)) == [0, 3]
    ahead = found._replace(slots=np.array([0, 10**6, 2, 3], np.int32).tobytes())
    assert told(still_right(ahead, changes.now, QUERY, names)) == [0, 10**6, 3]


@WAYS
def test_nothing_is_told_from_where_a_writer_is_ahead(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed after the moment may have been changed before, too."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.lost([0])
    moment = changes.now
    changes.lost([2])

    assert told(still_right(found, moment, QUERY, names)) == [1]


@WAYS
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
def test_scores_that_are_no_numbers_may_be_anything(
    number: float, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So may those that single precision cannot hold."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.written([8, 9], np.array([[-1, 0], [number, number]], np.float32))

    assert told(still_right(found, changes.now, QUERY, names)) == []


def test_what_is_left_out_by_now() -> None:
    """Items the user has seen since; what was left out before was never found."""
    found = remembered(Changes(D).now, 9, 5, 4, 3)
    asked = QUERY._replace(exclude=frozenset({"i1", "elsewhere"}))

    after = still_right(found, Changes(D).now, asked, names)

    assert (told(after), after.exclude) == ([0, 2, 3], asked.exclude)
    assert still_right(after, Changes(D).now, asked, names) is after


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-6, 6), st.integers(-6, 6)), max_size=20),
    st.integers(0, 20),
    st.lists(st.integers(0, 12), min_size=1, max_size=20),
)
def test_both_ways_tell_the_same(written: list[tuple[int, int, int]], ahead: int, scores: list[int]) -> None:
    """In C and in numpy: whatever was written, and however far a writer is ahead."""
    if not kernels.KINDS:
        pytest.skip("the processor has not got the instructions")
    changes = Changes(D, kept=64)
    changes.lost([3])
    found = remembered(changes.now, *sorted(map(float, scores), reverse=True))
    moment = changes.now
    for place, (slot, *row) in enumerate(written):
        changes.written([slot], np.array([row], np.float32))
        moment = changes.now if place < ahead else moment

    in_c = still_right(found, moment, QUERY, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "KINDS", ())
        assert still_right(found, moment, QUERY, names) == in_c


@WAYS
def test_lists_stand_while_others_are_written(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of them, where few of many items are written; each is what a search finds."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    rng = np.random.default_rng(7)
    ids = [f"i{n}" for n in range(3000)]
    rows = rng.normal(size=(len(ids), 8)).astype(np.float32)
    index, fresh = (SegmentedIndex(ids, rows, min_delta=50, remembered=most) for most in (10, 0))
    monkeypatch.setattr(index, "recall", lambda query: recall(index, query))
    query = Query(rng.normal(size=8).astype(np.float32), 10, exclude_rows=np.array([4, 8]), key="u")
    recalled = 0
    for step in range(300):
        known = index.recall(query)
        recalled += known is not None
        assert (known or index.search_many([query])[0]) == fresh.search_many([query._replace(key=None)])[0]
        changed = [f"i{n}" for n in rng.integers(0, 6000, 3)]
        for each in (index, fresh):
            if step % 3:
                each.upsert(changed, rows[step : step + 3])
            else:
                each.remove(changed)
        if not step % 50:
            index.settle()

    assert recalled > 200


def recall(index: SegmentedIndex, query: Query) -> Any:
    """From what was found before, without making it up."""
    return index._recollections.recall(index._view, query, index._slots.ids, make_up=False)


@pytest.mark.skipif(not kernels.KINDS, reason="the processor has not got the instructions")
@pytest.mark.parametrize(
    "other",
    [
        {"scores": bytes(8)},
        {"slots": np.array([-1, 0], np.int32).tobytes()},
        {"written": np.zeros((3, 3), np.float32)},
        {"query": np.zeros(0, np.float32)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_does_not_go_together_is_refused(other: dict[str, Any]) -> None:
    """Nothing beyond the end of anything is read."""
    sound = {
        "slots": bytes(8),
        "scores": bytes(16),
        "changed_at": np.zeros(4, np.int64),
        "written": np.zeros((3, D), np.float32),
        "query": np.zeros(D, np.float32),
    }
    with pytest.raises(ValueError, match="expected"):
        kernels.standing(**sound | other, since=0, now=0, longest=1.0)
