"""Attributes and categories turned round: which items fulfil which conditions."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import ModelStore
from service.adapters.memory import MemoryIndex
from service.chosen import Chosen
from service.domain import DeleteItem, Encoding, Item, PutItem, Record
from service.facets import AttributeIs, Facets, key_of
from service.postings import Postings
from service.servable import Servable

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def is_one_of(name: str, *values: str | float | bool) -> AttributeIs:
    """The condition that an attribute is one of some values."""
    return AttributeIs(name, frozenset(map(key_of, values)))


SAME = [
    (7, "7"),
    (7, 7.0),
    (7, "7.0"),
    ("7", "7.00"),
    (-1.5, "-1.5"),
    (-1.5, "-1.50"),
    (0, "-0"),
    (0, "-0.0"),
    (True, "true"),
    (False, "false"),
    (2**53 + 1, str(2**53 + 1)),
    (1e5, "100000"),
    ("", ""),
    ("é", "é"),
]
DIFFERENT: list[tuple[str | float, str | float]] = [
    (7, "007"),
    (7, "+7"),
    (7, " 7"),
    (7, "7 "),
    (7, "7\n"),
    (7, "7."),
    (0.5, ".5"),
    (100000, "1e5"),
    (7, "0x7"),
    (7, "\u0667"),  # a digit, but none of ours
    (1000, "1_000"),
    (1, True),
    (0, False),
    (1, "true"),
    (True, "True"),
    (2**53 + 1, 2.0**53),
    ("é", "e\u0301"),
    ("a", "A"),
    ("", "0"),
    ("nan", float("inf")),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=repr)
def test_values_that_mean_the_same_are_found_by_each_other(one: Any, other: Any) -> None:
    """Numbers by value, whether they are numbers or plain decimal text."""
    assert key_of(one) == key_of(other)
    assert hash(key_of(one)) == hash(key_of(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=repr)
def test_values_that_read_otherwise_are_others(one: Any, other: Any) -> None:
    """Text is text unless it is a number in its one plain form; truth values are no numbers."""
    assert key_of(one) != key_of(other)


BOUNDS = [
    ({"least": 2}, {2, 2.5, 3}),
    ({"above": 2}, {2.5, 3}),
    ({"most": 2}, {-1, 1, 2}),
    ({"below": 2}, {-1, 1}),
    ({"least": 1, "below": 2.5}, {1, 2}),
    ({"above": 3}, set()),
    ({"least": 3, "most": 1}, set()),
    ({"above": -1, "least": -1, "most": 1}, {1}),
    ({"most": 10**400}, {-1, 1, 2, 2.5, 3}),
    ({"any_of": frozenset({1, 3, "x"}), "least": 2}, {3}),
    ({"any_of": frozenset()}, set()),
    ({"any_of": frozenset({"x", "true"})}, {"x", "true"}),
    ({}, {-1, 1, 2, 2.5, 3, "x", "true", ""}),
]


@pytest.mark.parametrize(("facts", "fulfilled"), BOUNDS, ids=[str(facts)[:40] for facts, _ in BOUNDS])
def test_bounds_hold_for_numbers_alone(facts: dict[str, Any], fulfilled: set[Any]) -> None:
    """Each bound by itself and together; text and truth values are within none."""
    values = [-1, 1, 2, 2.5, 3, "x", "true", ""]

    assert {value for value in values if AttributeIs("n", **facts).holds(value)} == fulfilled


def make_facets(items: dict[str, Item]) -> Facets:
    """Facets that look attributes up in a dictionary."""

    def values(name: str) -> Iterator[tuple[str, Any]]:
        return ((i, item.attributes[name]) for i, item in items.items() if name in item.attributes)

    return Facets(threading.Lock(), values, {name for item in items.values() for name in item.attributes})


NAMES = [*"abcdef"]
VALUES = st.one_of(
    st.integers(-3, 3), st.sampled_from([0.5, 2.0, True, False, "x", "y", "1", "2.0", "-3", "", "true", "01"])
)
some_items = st.builds(
    lambda name, categories, attributes: Item(name, categories=tuple(categories), attributes=attributes),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from("XYZ"), max_size=3),
    st.dictionaries(st.sampled_from(["p", "q"]), VALUES),
)
bound = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.5, 1.5]))
conditions = st.one_of(
    st.builds(
        lambda name, values: is_one_of(name, *values), st.sampled_from(["p", "q", "r"]), st.lists(VALUES, max_size=3)
    ),
    st.builds(AttributeIs, st.sampled_from(["p", "q"]), least=bound, most=bound, above=bound, below=bound),
)
questions = st.tuples(st.lists(st.sampled_from("XYZ"), max_size=2), st.lists(conditions, max_size=3))


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), some_items),
            st.tuples(st.just("delete"), st.sampled_from(NAMES)),
            st.tuples(st.just("ask"), questions),
        ),
        max_size=40,
    )
)
def test_facets_answer_as_a_look_at_every_item_does(steps: list[tuple[str, Any]]) -> None:
    """Over any course of writes and questions, which make attributes known in any order, nothing is lost or left."""
    items: dict[str, Item] = {}
    facets = make_facets(items)

    def move(name: str, after: Item | None) -> None:
        facets.move(items.pop(name, None), after)
        if after:
            items[name] = after

    for kind, what in steps:
        if kind == "put":
            move(what.item_id, what)
        elif kind == "delete":
            move(what, None)
        else:
            categories, attributes = what
            assert facets.matching(categories, attributes) == looked_at(items, categories, attributes)


def looked_at(items: dict[str, Item], categories: list[str], attributes: list[AttributeIs]) -> set[str] | None:
    """The items that fulfil everything, one after the other."""
    if not categories and not attributes:
        return None
    return {
        name
        for name, item in items.items()
        if (not categories or {*categories} & {*item.categories})
        and all(each.name in item.attributes for each in attributes)
        and all(each.holds(key_of(item.attributes[each.name])) for each in attributes)
    }


def test_nothing_asked_is_no_restriction() -> None:
    """Whereas an attribute no item has leaves none."""
    facets = make_facets({"a": Item("a", attributes={"p": 1})})

    assert facets.matching((), ()) is None
    assert facets.matching((), (is_one_of("nope", 1),)) == frozenset()
    assert facets.matching(("nope",), ()) == frozenset()
    assert facets.matching((), (is_one_of("p", 1), is_one_of("nope", 1))) == frozenset()


def test_names_that_were_unknown_when_asked_are_found_later() -> None:
    """An attribute that appears after it was asked for is found from then on."""
    items: dict[str, Item] = {}
    facets = make_facets(items)
    assert facets.matching((), (is_one_of("p", 1),)) == frozenset()

    items["a"] = Item("a", attributes={"p": 1})
    facets.move(None, items["a"])

    assert facets.matching((), (is_one_of("p", 1),)) == {"a"}


def test_so_many_names_are_kept_and_no_more() -> None:
    """Whoever asks for ever other names does not fill the memory, and those that gave way are answered all the same."""
    items = {"a": Item("a", attributes={f"p{n}": n for n in range(100)})}
    facets = make_facets(items)

    for _ in range(2):
        for n in range(100):
            assert facets.matching((), (is_one_of(f"p{n}", n),)) == {"a"}
            assert facets.matching((), (is_one_of(f"unknown{n}", n),)) == frozenset()
            assert len(facets._attributes) <= 64
    before, items["a"] = items["a"], Item("a", attributes={f"p{n}": "x" for n in range(100)})
    facets.move(before, items["a"])

    assert all(facets.matching((), (is_one_of(f"p{n}", "x"),)) == {"a"} for n in range(100))
    assert all(facets.matching((), (is_one_of(f"p{n}", n),)) == frozenset() for n in range(100))


def test_names_that_no_item_has_are_not_looked_up() -> None:
    """Asking for them reads no items, and so keeps no writer waiting, until an item comes that has one."""
    looked_up: list[str] = []

    def values(name: str) -> Iterator[tuple[str, Any]]:
        looked_up.append(name)
        return iter([("a", 1)])

    facets = Facets(threading.Lock(), values, ["p"])
    assert facets.matching((), (is_one_of("q", 1),)) == frozenset()
    assert looked_up == []
    facets.move(None, Item("a", attributes={"q": 1}))
    assert facets.matching((), (is_one_of("q", 1),)) == {"a"}
    assert facets.matching((), (is_one_of("q", 1),)) == {"a"}
    assert looked_up == ["q"]


def test_values_that_no_item_has_any_more_are_not_kept() -> None:
    """Neither categories nor values, however often an item is written anew or deleted."""
    items = {"a": Item("a", categories=("c", "c"), attributes={"p": -1})}
    facets = make_facets(items)
    facets.file("a", ("c", "c"))
    everything = AttributeIs("p", least=-2)
    assert facets.matching((), (everything,)) == {"a"}

    for n in range(100):
        before, items["a"] = items["a"], Item("a", categories=(f"c{n}",), attributes={"p": n})
        facets.move(before, items["a"])

    assert len(facets._categories) == len(facets._attributes["p"][0]) == 1
    assert facets.matching(("c99",), (everything,)) == {"a"}
    facets.move(items.pop("a"), None)
    assert len(facets._categories) == len(facets._attributes["p"][0]) == 0
    assert facets.matching((), (everything,)) == facets.matching(("c99",), ()) == frozenset()


class Columns:
    """What a bundle says, of which all that matters is when it is asked."""

    def __init__(self, asked: Callable[[str], None]) -> None:
        self.asked, self.categories = asked, Postings()

    def attribute(self, name: str, key_of: Any) -> Postings:  # noqa: ARG002
        """None has it."""
        self.asked(name)
        return Postings()

    def chosen(self, ids: frozenset[str], rows: Any) -> Chosen:  # noqa: ARG002
        """Those that were written."""
        return Chosen(ids)


def test_columns_are_turned_round_while_writers_write() -> None:
    """The first question for an attribute reads every cell of a column: the lock is free meanwhile."""
    lock, held = threading.Lock(), list[bool]()
    facets = Facets(lock, lambda _: [("a", 1)], ["p"], Columns(lambda _: held.append(lock.locked())))  # type: ignore[arg-type]

    assert facets.matching((), (is_one_of("p", 1),)) == {"a"}

    assert held == [False]


def test_what_is_written_while_an_attribute_is_looked_up_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items that come, change and go after the items were read, and before what was read is in order."""
    lock = threading.Lock()
    items = {name: Item(name, attributes={"p": 1}) for name in "abc"}
    facets = Facets(lock, lambda name: [(i, item.attributes[name]) for i, item in items.items()], ["p"])

    def move(name: str, after: Item | None) -> None:
        assert lock.acquire(timeout=5)
        facets.move(items.pop(name, None), after)
        lock.release()

    def key_of_meanwhile(value: Any) -> Any:
        monkeypatch.setattr("service.facets.key_of", key_of)
        move("a", Item("a", attributes={"p": 2}))
        move("b", None)
        move("d", Item("d", attributes={"p": 1}))
        return key_of(value)

    monkeypatch.setattr("service.facets.key_of", key_of_meanwhile)
    condition = AttributeIs("p", least=0)

    assert facets.matching((), (condition,)) == {"a", "c", "d"}
    assert facets.matching((), (is_one_of("p", 2),)) == {"a"}
    assert facets._missed is None


def test_an_attribute_is_looked_up_once_for_all_who_ask() -> None:
    """Who comes while a column is turned round waits for it, and does not do the same beside."""
    asked, all_ask = list[str](), threading.Event()

    def wait(name: str) -> None:
        asked.append(name)
        all_ask.wait(10)

    facets = Facets(threading.Lock(), lambda _: [("a", 1)], ["p"], Columns(wait))  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(facets.matching, (), (is_one_of("p", 1),)) for _ in range(4)]
        facets.move(None, Item("b", attributes={"q": 1}))
        all_ask.set()

    assert [answer.result() for answer in answers] == [{"a"}] * 4
    assert asked == ["p"]


def test_a_look_up_that_fails_leaves_nothing() -> None:
    """What is written afterwards is not kept for it, and the next one is as good as the first."""
    fails = [True]

    def values(_: str) -> Iterator[tuple[str, Any]]:
        yield "a", 1
        if fails.pop():
            raise MemoryError

    facets = Facets(threading.Lock(), values, ["p"])
    with pytest.raises(MemoryError):
        facets.matching((), (is_one_of("p", 1),))
    assert facets._missed is None

    fails.append(False)

    assert facets.matching((), (is_one_of("p", 1),)) == {"a"}


def test_answers_are_the_callers_own() -> None:
    """What was answered does not change when items do."""
    items = {"a": Item("a", categories=("X",), attributes={"p": 1})}
    facets = make_facets(items)
    facets.file("a", ("X",))
    answers = [facets.matching(("X",), ()), facets.matching((), (is_one_of("p", 1),))]

    facets.move(items.pop("a"), None)

    assert answers == [{"a"}, {"a"}]
    assert facets.matching(("X",), ()) == facets.matching((), (is_one_of("p", 1),)) == frozenset()


@pytest.fixture
def servable(published_store: ModelStore, fake_encoder: Any) -> Servable:
    """The published version, whose items are all of brand acme."""
    bundle = published_store.load()
    return Servable(bundle, fake_encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))


def put(servable: Servable, seq: int, item_id: str, **attributes: Any) -> None:
    """Applies a put."""
    encoding = Encoding(np.zeros(5, np.float32), None, 0.0, (), (), "v1")
    servable.apply(Record(seq, NOW, PutItem(Item(item_id, attributes=attributes))), encoding)


@pytest.mark.parametrize("asked_before", [True, False])
def test_trained_items_move_when_they_are_written(servable: Servable, *, asked_before: bool) -> None:
    """What the bundle says of an item counts until it is written; then what the record says, or nothing."""

    def of_brand(*values: str) -> frozenset[str] | None:
        return servable.facets.matching((), (is_one_of("brand", *values),))

    if asked_before:
        assert of_brand("acme") == {*servable.bundle.items}

    put(servable, 1, "i00", brand="other")
    put(servable, 2, "i01")
    put(servable, 3, "new", brand="acme")
    servable.apply(Record(4, NOW, DeleteItem("i02")))

    assert of_brand("acme") == {*servable.bundle.items, "new"} - {"i00", "i01", "i02"}
    assert of_brand("other") == {"i00"}
    assert of_brand("other", "acme") == {*servable.bundle.items, "new"} - {"i01", "i02"}


def test_titles_and_categories_are_no_attributes(servable: Servable) -> None:
    """Columns of the training data that have a meaning of their own are none; an item may have one of that name."""
    for name in ("title", "categories"):
        assert servable.facets.matching((), (AttributeIs(name),)) == frozenset()
    put(servable, 1, "new", title="x")

    assert servable.facets.matching((), (is_one_of("title", "x"),)) == {"new"}


def test_readers_and_writers_do_not_disturb_each_other(servable: Servable) -> None:
    """While items are written, every answer is one that was true at some moment; nothing is raised."""
    trained = {*servable.bundle.items}
    done = threading.Event()

    def write() -> None:
        for seq in range(1, 400):
            put(servable, seq, f"n{seq % 7}", brand="acme", **{f"p{seq % 70}": seq})
        done.set()

    def read() -> None:
        while not done.wait(0):
            for n in range(70):
                found = servable.facets.matching(("a",), (is_one_of("brand", "acme"), AttributeIs(f"p{n}", least=0)))
                assert found == frozenset()
                assert servable.facets.matching((), (is_one_of("brand", "acme"),)) >= trained

    with ThreadPoolExecutor() as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            write()
        finally:
            done.set()

    for reader in readers:
        reader.result()


def test_texts_of_thousands_of_digits_are_no_numbers() -> None:
    """Python refuses to read such; training data may have them, and filters of others must go on."""
    digits = "1" * 5000

    assert key_of(digits) == digits
    assert key_of("1" * 20) == int("1" * 20)
