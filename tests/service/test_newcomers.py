"""New items in the order in which they are tried."""

import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.newcomers import Newcomers


def order(newcomers: Newcomers, until: int = 0) -> str:
    """The items to be tried, as one word."""
    return "".join(newcomers.split(until)[0])


def split(newcomers: Newcomers, until: int) -> tuple[list[str], list[str]]:
    """Both kinds of them, spelled out."""
    to_try, tried = newcomers.split(until)
    return list(to_try), list(tried)


@pytest.fixture
def newcomers() -> Newcomers:
    """Three items: a was written first, c last."""
    made = Newcomers()
    for seq, name in enumerate("abc", start=1):
        made.put(name, seq)
    return made


def test_least_shown_comes_first_and_the_latest_of_equals(newcomers: Newcomers) -> None:
    """Who was shown goes behind all who were shown less; what is no new item is not counted."""
    assert order(newcomers) == "cba"
    assert newcomers.note_shown(["c", "i00", "b"]) == 2
    assert order(newcomers) == "acb"
    assert newcomers.note_shown(["a", "a", "a"]) == 3
    assert order(newcomers) == "cba"
    assert newcomers.note_shown(["i00"]) == newcomers.note_shown([]) == 0
    assert len(newcomers) == 3


def test_everyone_gets_their_turn(newcomers: Newcomers) -> None:
    """Showing the first each time shows all equally often."""
    for _ in range(30):
        newcomers.note_shown(order(newcomers)[:1])

    assert newcomers._shown == {"a": 10, "b": 10, "c": 10}


def test_items_that_were_tried_stand_apart(newcomers: Newcomers) -> None:
    """Those that were shown as often as that, and more often; without a bound there are none."""
    newcomers.note_shown("aab")

    assert split(newcomers, 0) == (["c", "b", "a"], [])
    assert split(newcomers, 1) == (["c"], ["b", "a"])
    assert split(newcomers, 2) == (["c", "b"], ["a"])
    assert split(newcomers, 3) == (["c", "b", "a"], [])


def test_new_items_come_one_by_one(newcomers: Newcomers) -> None:
    """Most lists want few of many; what is written or shown between two of them changes nothing."""
    newcomers.note_shown("a")
    to_try, tried = newcomers.split(1)

    assert next(to_try) == "c"
    newcomers.remove("b")
    newcomers.put("d", 4)
    newcomers.note_shown("bcd")

    assert ([*to_try], [*tried]) == (["b"], ["a"])


def test_written_anew_an_item_keeps_its_count(newcomers: Newcomers) -> None:
    """It moves before those that were shown as often, no further; deleted, it is forgotten with its count."""
    newcomers.note_shown("abc")
    newcomers.put("a", 4)
    newcomers.put("d", 5)
    assert order(newcomers) == "dacb"

    newcomers.remove("a")
    newcomers.remove("nobody")
    assert order(newcomers) == "dcb"
    newcomers.put("a", 6)

    assert order(newcomers) == "adcb"
    assert split(newcomers, 1) == (["a", "d"], ["c", "b"])


def test_counting_what_is_shown_leaves_the_order_alone(newcomers: Newcomers) -> None:
    """It is put right for whoever asks for it, however many have been shown: nobody else need wait for that."""
    for n in range(100):
        newcomers.put(f"{n}", 10 + n)
    before = newcomers._order.copy()

    newcomers.note_shown([f"{n}" for n in range(0, 100, 2)])

    assert newcomers._order == before
    expected = [f"{n}" for n in range(99, 0, -2)] + ["c", "b", "a"] + [f"{n}" for n in range(98, -1, -2)]
    assert split(newcomers, 0)[0] == expected
    assert newcomers._order != before


def test_latest_written_is_put_last(newcomers: Newcomers) -> None:
    """A new item shifts no other one in memory."""
    newcomers.put("d", 4)

    assert [item_id for _, _, item_id in newcomers._order] == ["a", "b", "c", "d"]


def test_successor_inherits_what_was_shown(newcomers: Newcomers) -> None:
    """Only of items that are new to it as well; what it counted itself before it served is put aside."""
    newcomers.note_shown("aaab")
    successor = Newcomers()
    for seq, name in enumerate("bcd", start=2):
        successor.put(name, seq)
    successor.note_shown("cd")

    successor.inherit(newcomers)

    assert order(successor) == "dcb"
    assert split(successor, 1) == (["d", "c"], ["b"])
    newcomers.note_shown("ccc")
    assert order(successor) == "dcb"  # nothing is shared
    successor.put("a", 9)
    assert split(successor, 1)[0] == ["a", "d", "c"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("abcde")),
            st.tuples(st.just("remove"), st.sampled_from("abcde")),
            st.tuples(st.just("show"), st.text("abcdex", max_size=4)),
            st.tuples(st.sampled_from(["ask", "inherit"]), st.none()),
        )
    ),
    st.integers(0, 4),
    st.integers(0, 3),
)
def test_order_is_that_of_the_counts(steps: list[tuple[str, Any]], until: int, few: int) -> None:
    """Whatever happens, whoever inherits it, and however many have moved by the time somebody asks."""
    newcomers, shown, seqs = Newcomers(), dict[str, int](), dict[str, int]()
    for seq, (kind, what) in enumerate(steps):
        if kind == "put":
            newcomers.put(what, seq)
            seqs[what] = seq
        elif kind == "remove":
            newcomers.remove(what)
            seqs.pop(what, None)
            shown.pop(what, None)
        elif kind == "show":
            assert newcomers.note_shown(what) == sum(name in seqs for name in what)
            shown |= {name: shown.get(name, 0) + what.count(name) for name in what if name in seqs}
        elif kind == "ask":
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("service.newcomers._FEW", few)
                newcomers.split(until)
        else:
            successor = Newcomers()
            for name, written in seqs.items():
                successor.put(name, written)
            successor.inherit(newcomers)
            newcomers = successor

    ranked = sorted(seqs, key=lambda name: (shown.get(name, 0), -seqs[name]))
    first = [name for name in ranked if not until or shown.get(name, 0) < until]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.newcomers._FEW", few)
        found = split(newcomers, until)
    assert found == (first, ranked[len(first) :])
    assert len(newcomers) == len(seqs)


def test_counts_from_many_threads_are_all_there(newcomers: Newcomers) -> None:
    """Lists are made at the same time; none of their places is lost."""

    def show() -> None:
        for _ in range(200):
            newcomers.note_shown("abc")

    threads = [threading.Thread(target=show) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert newcomers._shown == {"a": 800, "b": 800, "c": 800}
    assert order(newcomers) == "cba"


def test_items_are_never_missed_while_they_are_moved() -> None:
    """Readers find every item, whatever is written anew or was shown meanwhile."""
    newcomers, ids, stop = Newcomers(), [f"n{number}" for number in range(300)], threading.Event()
    for seq, item_id in enumerate(ids, 1):
        newcomers.put(item_id, seq)

    def write() -> None:
        seq = len(ids)
        while not stop.is_set():
            seq += 1
            newcomers.put(ids[seq % len(ids)], seq)
            if not seq % 100:
                newcomers.note_shown([ids[seq * 7 % len(ids)]])

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writing = threading.Thread(target=write)
    writing.start()
    try:
        found = [sum(map(len, split(newcomers, 1))) for _ in range(2000)]
    finally:
        stop.set()
        writing.join()
        sys.setswitchinterval(before)

    assert set(found) == {len(ids)}
