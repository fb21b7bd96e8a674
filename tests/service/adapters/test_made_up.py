"""Remembered lists, made up for what was written since."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters import kernels
from service.adapters.changes import Changes, Moment
from service.adapters.made_up import SPARE, holds, made_up
from service.adapters.ranked import Ranked
from service.adapters.remembered import Remembered
from service.adapters.segmented_index import SegmentedIndex
from service.queries import Hits, Mark, Query

D = 2
QUERY = Query(np.array([1, 0.5], np.float32), 3, key="u")
WAYS = pytest.mark.parametrize("kinds", [(), *([kernels.KINDS] if kernels.KINDS else [])], ids=["numpy", "c"])
NEEDS_C = pytest.mark.skipif(not kernels.KINDS, reason="the processor has not got the instructions")


def names(slots: Any) -> list[str]:
    """The ids of slots."""
    return [f"i{slot}" for slot in slots]


def remembered(changes: Moment, *scores: float, whole: bool = False) -> Remembered:
    """A list of the slots 0, 1, … with these scores, found at a moment."""
    ranked = Ranked(np.arange(len(scores)), np.array(scores, dtype=np.float64))
    return Remembered.of(QUERY, changes, ranked, whole=whole)


def told(found: Remembered | None) -> list[int] | None:
    """The slots of a list."""
    return None if found is None else found.ranked.slots.tolist()


@WAYS
def test_what_was_written_gets_its_place(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to the last score there was: of what comes after it not all is known, unless that was all there is."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    some, all_ = remembered(changes.now, 9, 5, 4, 3), remembered(changes.now, 9, 5, 4, 3, whole=True)
    assert made_up(some, changes.now, QUERY, names) is some

    changes.written([8, 7, 6], np.array([[1, 0], [4.5, 0], [3, 0]], np.float32))

    after = made_up(some, changes.now, QUERY, names)
    assert (told(after), after and (after.whole, after.changes, after.rows)) == ([0, 1, 7, 2, 3, 6], (False, 3, 3))
    whole = made_up(all_, changes.now, QUERY, names)
    assert (told(whole), whole and whole.whole) == ([0, 1, 7, 2, 3, 6, 8], True)
    assert after is not None
    assert made_up(after, changes.now, QUERY, names) is after


@WAYS
def test_what_was_changed_is_what_it_is_now(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that were written for one item only the last counts; slots newer than the log were never changed."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.written([1, 2], np.array([[8, 0], [7, 0]], np.float32))
    changes.lost([2])
    changes.written([1], np.array([[6, 0]], np.float32))

    assert told(made_up(found, changes.now, QUERY, names)) == [0, 1, 3]
    ahead = found._replace(slots=np.array([0, 10**6, 2, 3], np.int32).tobytes())
    assert told(made_up(ahead, changes.now, QUERY, names)) == [0, 1, 10**6, 3]


@WAYS
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_what_the_user_has_seen_is_not_found(
    kind: Any, kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By row, and by id, where it was seen since."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.written([20, 21, 22], np.array([[8, 0], [7, 0], [6, 0]], np.float32))
    asked = QUERY._replace(exclude_rows=np.array([2, 21, 50], kind), exclude=frozenset({"i1", "i22", "elsewhere"}))

    after = made_up(found, changes.now, asked, names)

    assert (told(after), after and after.exclude) == ([0, 20, 2, 3], asked.exclude)
    assert after
    assert made_up(after, changes.now, asked, names) is after
    changes.written([22, 23, 1], np.array([[8.5, 0], [8.4, 0], [8.3, 0]], np.float32))
    assert told(made_up(after, changes.now, asked, names)) == [0, 23, 20, 2, 3]


@WAYS
def test_nothing_is_told_where_a_writer_is_ahead(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed after the moment may have been changed before, too: of the list, or of what was written."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.written([8, 9], np.array([[-1, 0], [6, 0]], np.float32))
    moment = changes.now

    changes.lost([8])
    assert told(made_up(found, moment, QUERY, names)) == [0, 9, 1, 2, 3]
    changes.lost([9])
    assert made_up(found, moment, QUERY, names) is None
    changes.lost([2])
    assert made_up(found, moment, QUERY, names) is None
    assert told(made_up(found, changes.now, QUERY, names)) == [0, 1, 3]


@WAYS
def test_lists_do_not_grow(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what they are asked for and the spare places; what equals the last of these stays."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3, whole=True)

    changes.written(range(50, 90), np.arange(100, 140).repeat(2).reshape(-1, 2).astype(np.float32))
    after = made_up(found, changes.now, QUERY, names)
    assert after is not None
    assert (told(after), after.whole) == ([*range(89, 74, -1)], False)
    assert len(told(after) or []) == QUERY.k + SPARE

    changes.written(range(90, 99), np.full((9, D), 125, np.float32))  # as good as slot 75, and ordered by id
    assert told(made_up(after, changes.now, QUERY, names)) == [*range(89, 74, -1), *range(90, 99)]


def hits_of(found: Remembered) -> Hits:
    """A list, of as many places as it has, when it was found."""
    ranked = found.ranked
    return Hits(ranked.slots.tolist(), ranked.scores.tolist(), names, Mark(found.rows, found.changes))


@WAYS
def test_a_list_holds_until_something_reaches_its_end(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or something of it is changed; what is known to be right once need not be looked at again."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    changes.written([50], np.array([[99, 0]], np.float32))
    hits, asked = hits_of(remembered(changes.now, 9, 5, 4)), QUERY
    since = changes.now.mark
    assert holds(hits, since, changes.now, asked)

    changes.written([8, 7], np.array([[1, 0], [3.5, 0]], np.float32))
    changes.lost([8, 60])
    assert holds(hits, since, changes.now, asked)
    later = changes.now.mark
    changes.written([9], np.array([[4, 0]], np.float32))
    assert not holds(hits, later, changes.now, asked)
    later = changes.now.mark
    assert holds(hits, later, changes.now, asked)
    changes.lost([2])
    assert not holds(hits, later, changes.now, asked)


@WAYS
def test_a_list_of_all_there_is_does_not_hold(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is more, whatever it is."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    hits, since = hits_of(remembered(changes.now, 9, 5)), changes.now.mark

    changes.lost([60])
    assert holds(hits, since, changes.now, QUERY)
    changes.written([8], np.array([[-100, 0]], np.float32))
    assert not holds(hits, since, changes.now, QUERY)


@WAYS
def test_no_list_holds_that_changed_after_the_moment(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been changed before it, too."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    hits, since = hits_of(remembered(changes.now, 9, 5, 4)), changes.now.mark
    changes.lost([60])
    moment = changes.now
    changes.written([1], np.array([[5, 0]], np.float32))

    assert not holds(hits, since, moment, QUERY)


@pytest.mark.parametrize(
    "other",
    [{"k": 0}, {"allow": ["i1"]}, {"allow_rows": np.array([1])}],
    ids=lambda other: next(iter(other)),
)
def test_only_of_what_is_remembered_it_is_told_whether_it_holds(other: dict[str, Any]) -> None:
    """And only of what an index says when it found it."""
    index = SegmentedIndex(["a", "b"], np.eye(2, D, dtype=np.float32), remembered=1)
    query = QUERY._replace(k=1)
    (hits,) = index.search_many([query])
    mark = hits.found_at

    assert mark
    assert index.holds(query, hits, mark) == mark
    assert index.holds(query._replace(**other), hits, mark) is None
    assert index.holds(query, Hits([0], [1.0], names), mark) is None


def test_what_holds_is_looked_at_anew_in_time() -> None:
    """Before so much was written that what is remembered could not be made up."""
    index = SegmentedIndex(["a", "b"], np.eye(2, D, dtype=np.float32), remembered=1)
    query = QUERY._replace(k=1)
    (hits,) = index.search_many([query])
    mark = hits.found_at
    steps = 0
    while mark and (mark := index.holds(query, hits, mark)):
        index.upsert([f"n{n}" for n in range(100)], np.full((100, D), -1, np.float32))
        steps += 1

    assert 10 < steps < 30
    assert (known := index.recall(query)) == hits
    assert known is not None
    assert known.found_at is not None
    assert index.holds(query, known, known.found_at)


@WAYS
@pytest.mark.parametrize("number", [np.inf, 3e38])
def test_what_single_precision_cannot_hold_is_searched_for(
    kinds: tuple[str, ...], number: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such scores may be anything, also where they look as if they were far from reaching the list."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    changes = Changes(D)
    found = remembered(changes.now, 9, 5, 4, 3)
    changes.written([8, 9], np.array([[-1, 0], [-number, number]], np.float32))

    assert made_up(found, changes.now, QUERY, names) is None
    assert not holds(hits_of(found), Mark(0, 0), changes.now, QUERY._replace(k=4))


@NEEDS_C
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(-6, 6), st.integers(-6, 6)), max_size=40),
    st.integers(0, 40),
    st.lists(st.integers(-3, 12), max_size=20),
    st.booleans(),
    st.lists(st.integers(0, 30), unique=True, max_size=4),
)
def test_both_ways_tell_the_same(
    written: list[tuple[int, int, int]],
    ahead: int,
    scores: list[int],
    whole: bool,
    seen: list[int],
) -> None:
    """In C and in numpy: whatever was written, and however far a writer is ahead."""
    changes = Changes(D, kept=64)
    changes.lost([3])
    found = remembered(changes.now, *sorted(map(float, scores), reverse=True), whole=whole)
    moment = changes.now
    for place, (slot, *row) in enumerate(written):
        if row == [0, 0]:
            changes.lost([slot])
        else:
            changes.written([slot], np.array([row], np.float32))
        moment = changes.now if place < ahead else moment
    asked = QUERY._replace(exclude_rows=np.array(seen, np.int32))

    held = hits_of(found), Mark(found.rows, found.changes), moment, QUERY._replace(k=max(len(scores), 1) + whole)

    in_c, right = made_up(found, moment, asked, names), holds(*held)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "KINDS", ())
        assert made_up(found, moment, asked, names) == in_c
        assert holds(*held) == right


@WAYS
def test_lists_are_made_up_while_others_are_written(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a search would find them."""
    monkeypatch.setattr(kernels, "KINDS", kinds)
    rng = np.random.default_rng(7)
    ids = [f"i{n}" for n in range(1000)]
    rows = rng.normal(size=(len(ids), 8)).astype(np.float32)
    index, fresh = (SegmentedIndex(ids, rows, min_delta=50, remembered=most) for most in (10, 0))
    query = Query(rng.normal(size=8).astype(np.float32), 10, exclude_rows=np.array([4, 8]), key="u")
    recalled = held = 0
    hits, mark = index.search_many([query])[0], None
    for step in range(300):
        known = index.recall(query)
        recalled += known is not None
        now = fresh.search_many([query._replace(key=None)])[0]
        mark = index.holds(query, hits, mark or hits.found_at or Mark(0, 0))
        held += mark is not None
        assert mark is None or hits == now
        assert (known or index.search_many([query])[0]) == now
        hits = hits if mark else known or index.search_many([query])[0]
        changed = [f"i{n}" for n in rng.integers(0, 2000, 3)]
        for each in (index, fresh):
            if step % 3:
                each.upsert(changed, rows[step : step + 3])
            else:
                each.remove(changed)
        if not step % 50:
            index.settle()

    assert recalled > 280
    assert held > 200


SOUND = {
    "kind": kernels.KINDS[0] if kernels.KINDS else "",
    "slots": bytes(8),
    "scores": bytes(16),
    "whole": False,
    "changed_at": np.zeros(4, np.int64),
    "since": 0,
    "now": 0,
    "written": np.zeros((3, D), np.float32),
    "written_slots": np.arange(3),
    "counts": np.arange(3),
    "query": np.zeros(D, np.float32),
    "longest": 1.0,
    "barred": np.arange(2),
    "most": 5,
}


@NEEDS_C
@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "another"},
        {"scores": bytes(8)},
        {"slots": np.array([-1, 0], np.int32).tobytes()},
        {"written": np.zeros((3, 3), np.float32)},
        {"written_slots": np.arange(2)},
        {"written_slots": np.array([0, -1, 0])},
        {"counts": np.arange(2)},
        {"query": np.zeros(0, np.float32)},
        {"barred": np.zeros(3, np.int16)},
        {"most": 0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, Any]) -> None:
    """Nothing beyond the end of anything is read."""
    assert kernels.native.made_up(*SOUND.values())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected"):
        kernels.native.made_up(*(SOUND | wrong).values())  # type: ignore[arg-type]


HELD = {
    "slots": [0, 1],
    "least": 0.0,
    "since": 0,
    "changed_at": np.zeros(4, np.int64),
    "written": np.zeros((3, D), np.float32),
    "first": 3,
    "query": np.zeros(D, np.float32),
    "longest": 1.0,
}


@NEEDS_C
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"slots": (0, 1)}, ValueError),
        ({"slots": [-1]}, ValueError),
        ({"slots": [2**31]}, ValueError),
        ({"slots": ["0"]}, TypeError),
        ({"slots": [2**64]}, OverflowError),
        ({"written": np.zeros((3, 3), np.float32)}, ValueError),
        ({"query": np.zeros(0, np.float32)}, ValueError),
        ({"first": -1}, ValueError),
        ({"first": 4}, ValueError),
    ],
    ids=lambda wrong: next(iter(wrong)) if isinstance(wrong, dict) else wrong.__name__,
)
def test_nothing_is_said_of_what_does_not_go_together(wrong: dict[str, Any], error: type[Exception]) -> None:
    """Nothing beyond the end of anything is read."""
    assert kernels.native.holds(*HELD.values())  # type: ignore[arg-type]
    with pytest.raises(error):
        kernels.native.holds(*(HELD | wrong).values())  # type: ignore[arg-type]
