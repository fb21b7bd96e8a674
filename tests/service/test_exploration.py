"""How new items get their chance in personal lists."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import ModelStore
from service.adapters.memory import MemoryIndex
from service.domain import Encoding, Item, PutItem, Record
from service.exploration import Exploration, reserve
from service.facets import AttributeIs
from service.filters import Filter, make_filter
from service.lists import Page, Wish, make_page
from service.paging import Shown
from service.queries import Hit
from service.servable import Servable

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TASTE = np.ones(5, np.float32)
EVERYTHING = 100


@pytest.mark.parametrize(
    ("share", "k", "places"),
    [(0.0, 100, 0), (0.1, 9, 0), (0.1, 10, 1), (0.25, 20, 5), (0.5, 1, 0), (0.5, 3, 1), (0.3, 10, 3), (0.15, 20, 3)],
)
def test_share_is_rounded_down_to_places(share: float, k: int, places: int) -> None:
    """A share that makes less than one place reserves none."""
    assert Exploration(share=share).places(k) == places


def test_share_that_is_no_binary_fraction_loses_no_place() -> None:
    """29 % of 100 places are 29."""
    assert [Exploration(share=percent / 100).places(100) for percent in range(51)] == [*range(51)]


def hits(text: str) -> list[Hit]:
    """Hits from words like ``a9 b7``: ids with scores."""
    return [Hit(word[0], float(word[1:])) for word in text.split()]


RESERVED = {
    "none wanted": (0, "a9 b8 c7", "x1", 2, "a9 b8"),
    "the last gives way": (1, "a9 b8 c7", "x1", 2, "a9 x1"),
    "the best of the new ones": (1, "a9 b8 c7", "x3 y2", 2, "a9 x3"),
    "among the hits already": (1, "a9 x8 c7", "x8 y2", 2, "a9 x8"),
    "more than the list is long": (5, "a9 b8", "x3 y2 z1", 2, "x3 y2"),
    "fewer than wanted": (3, "a9 b8 c7", "x1", 3, "a9 b8 x1"),
    "none there": (2, "a9 b8 c7", "", 2, "a9 b8"),
    "nothing else there": (1, "", "x3 y2", 2, "x3"),
    "equal scores by id": (2, "b5 a5", "y5 x5", 3, "b5 x5 y5"),
}


@pytest.mark.parametrize(("places", "best", "tried", "k", "expected"), RESERVED.values(), ids=RESERVED.keys())
def test_places_are_reserved(places: int, best: str, tried: str, k: int, expected: str) -> None:
    """So many of the list are new as far as there are so many; best first all the same."""
    assert reserve(places, hits(best), hits(tried), k, lambda _: True) == hits(expected)


def test_who_does_not_fit_is_passed_over() -> None:
    """Each is asked about in turn, once it would be taken, new ones first."""
    asked: list[str] = []

    def fits(item_id: str) -> bool:
        asked.append(item_id)
        return item_id not in {"x", "a"}

    assert reserve(1, hits("a9 b8 c7"), hits("x3 y2 z1"), 2, fits) == hits("b8 y2")
    assert asked == ["x", "y", "a", "b"]


class Shop:
    """The published version with some new items, asked without any thread around it."""

    def __init__(self, store: ModelStore, encoder: Any) -> None:
        bundle = store.load()
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.seq = 0

    def put(self, item_id: str, value: float, **facts: Any) -> None:
        """Puts an item whose score for ``TASTE`` is five times the value."""
        self.seq += 1
        encoding = Encoding(np.full(5, value, np.float32), None, 0.5, (), (), "v1")
        self.servable.apply(Record(self.seq, NOW, PutItem(Item(item_id, **facts))), encoding)

    def filter(self, wish: Wish, seen: Sequence[str] = ()) -> Filter:
        """What a wish may be shown."""
        return make_filter(
            self.servable,
            seen=seen,
            exclude=wish.exclude,
            now=NOW,
            categories=wish.categories,
            attributes=wish.attributes,
        )

    def page(self, wish: Wish, exploration: Exploration, seen: Sequence[str] = ()) -> Page:
        """One personal list."""
        return make_page(self.filter(wish, seen), TASTE, wish, exploration)

    def is_new(self, item_id: str) -> bool:
        """Whether the model was not trained on an item."""
        return item_id not in self.servable.bundle.items


@pytest.fixture
def shop(published_store: ModelStore, fake_encoder: Any) -> Shop:
    """A shop with three new items nobody would like."""
    made = Shop(published_store, fake_encoder)
    for n, name in enumerate("xyz"):
        made.put(name, -50.0 - n, categories=("new",), attributes={"n": n})
    return made


def ids(page: Page) -> list[str]:
    """The ids of a page."""
    return [hit.item_id for hit in page.hits]


def test_the_best_new_items_get_the_reserved_places(shop: Shop) -> None:
    """They stand last where they score least, and the best of the others keep their places."""
    plain = ids(shop.page(Wish(10), Exploration()))

    shared = ids(shop.page(Wish(10), Exploration(share=0.2)))

    assert not {*"xyz"} & {*plain}
    assert shared == [*plain[:8], "x", "y"]
    assert ids(shop.page(Wish(4), Exploration(share=0.2))) == plain[:4]


def test_items_that_were_tried_enough_stand_for_themselves(shop: Shop) -> None:
    """From so many impressions on an item gets no reserved place; the others do."""
    exploration = Exploration(share=0.2, until=2)
    shop.servable.newcomers.note_shown(["x", "x", "y"])

    assert ids(shop.page(Wish(10), exploration))[-2:] == ["y", "z"]
    shop.servable.newcomers.note_shown(["y", "z", "z"])
    assert not {*"xyz"} & {*ids(shop.page(Wish(10), exploration))}
    assert ids(shop.page(Wish(10), Exploration(share=0.2)))[-2:] == ["x", "y"]


WITHHELD: dict[str, Wish] = {
    "excluded": Wish(10, exclude=frozenset({"x"})),
    "of another category": Wish(10, categories=frozenset({"a"})),
    "of another attribute": Wish(10, attributes=(AttributeIs("n", least=1),)),
    "below the least score": Wish(10, min_score=-251.0),
    "shown before": Wish(10, shown=Shown().and_these(["x"])),
}


@pytest.mark.parametrize(("name", "wish"), WITHHELD.items(), ids=WITHHELD.keys())
def test_reserved_places_go_to_what_may_be_shown(shop: Shop, name: str, wish: Wish) -> None:
    """No filter is passed by on the way."""
    expected = {
        "excluded": {"y", "z"},
        "of another category": set[str](),
        "of another attribute": {"y", "z"},
        "below the least score": {"x"},
        "shown before": {"y", "z"},
    }

    new = {item_id for item_id in ids(shop.page(wish, Exploration(share=0.5))) if shop.is_new(item_id)}

    assert new == expected[name]


def test_hidden_and_seen_items_get_no_reserved_place(shop: Shop) -> None:
    """Nor do unavailable and expired ones."""
    shop.put("x", -50.0, hidden=True)
    shop.put("u", -40.0, available=False)
    shop.put("e", -40.0, expires_at=NOW)

    found = ids(shop.page(Wish(10), Exploration(share=0.5), seen=["y"]))

    assert [item_id for item_id in found if shop.is_new(item_id)] == ["z"]


def test_reserved_places_never_make_a_list_shorter(shop: Shop) -> None:
    """Also not where the new item is of all the categories that two others share."""
    shop.put("both", -90.0, categories=("p", "q"))
    shop.put("one", 90.0, categories=("p",))
    shop.put("two", 80.0, categories=("q",))
    shop.servable.newcomers.note_shown(["one", "two"])
    wish = Wish(2, categories=frozenset({"p", "q"}), max_per_category=1)

    plain = ids(shop.page(wish, Exploration()))
    shared = ids(shop.page(wish, Exploration(share=0.5, until=1)))

    assert plain == ["one", "two"]
    assert len(shared) == 2


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    """Wishes of all kinds."""
    return Wish(
        draw(st.integers(1, 20)),
        exclude=frozenset(draw(st.sets(st.sampled_from(["n0", "n1", "i02", "i03"])))),
        categories=frozenset(draw(st.sampled_from([(), (), ("new",), ("a",)]))),
        attributes=draw(st.sampled_from([(), (), (AttributeIs("n", least=3),)])),
        min_score=draw(st.sampled_from([None, None, -5.0, 0.0, 2.0])),
        diversity=draw(st.sampled_from([0.0, 0.0, 0.5])),
        max_per_category=draw(st.sampled_from([None, None, 1, 2])),
        shown=Shown().and_these(draw(st.sets(st.sampled_from(["n2", "i04"])))),
    )


new_items = st.lists(
    st.tuples(
        st.floats(-4, 4, width=32), st.sampled_from([(), ("new",), ("other",)]), st.booleans(), st.integers(0, 3)
    ),
    max_size=10,
)


@given(
    new=new_items,
    wish=wishes(),
    share=st.sampled_from([0.1, 0.25, 0.5]),
    until=st.integers(0, 3),
    seen=st.sets(st.sampled_from(["n3", "i05"])),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reserving_changes_only_who_is_on_the_list(
    published_store: ModelStore, fake_encoder: Any, new: list[Any], wish: Wish, share: float, until: int, seen: set[str]
) -> None:
    """Whatever is asked: as long as without, best first, within caps, all allowed, and new where there are new ones."""
    shop = Shop(published_store, fake_encoder)
    for n, (value, categories, hidden, times) in enumerate(new):
        shop.put(f"n{n}", value, categories=categories, hidden=hidden, attributes={"n": n})
        shop.servable.newcomers.note_shown([f"n{n}"] * times)
    exploration = Exploration(share=share, until=until)

    plain = shop.page(wish, Exploration(), sorted(seen)).hits
    page = shop.page(wish, exploration, sorted(seen))

    found, allowed = page.hits, shop.filter(wish, sorted(seen))
    assert len(found) == len({hit.item_id for hit in found}) == len(plain)
    assert found == sorted(found, key=lambda hit: (-hit.score, hit.item_id))
    assert all(allowed.allows(hit.item_id) and hit.item_id not in wish.shown for hit in found)
    assert wish.min_score is None or all(hit.score >= wish.min_score for hit in found)
    counts = Counter(name for hit in found for name in shop.servable.categories(hit.item_id))
    assert wish.max_per_category is None or max(counts.values(), default=0) <= wish.max_per_category
    if wish.max_per_category is None:
        to_try = {*shop.servable.newcomers.split(until)[0]}
        everything = shop.page(Wish(EVERYTHING, min_score=wish.min_score, shown=wish.shown), Exploration()).hits
        fitting = {hit.item_id for hit in everything if allowed.allows(hit.item_id)} & to_try
        tried = {hit.item_id for hit in found} & to_try
        assert len(tried) >= min(exploration.places(wish.k), len(fitting))


@pytest.mark.parametrize("k", [2, 5, 30])
def test_pages_with_reserved_places_show_everything_once(shop: Shop, k: int) -> None:
    """Who gave way comes on a later page; every page has its new items as long as there are any."""
    exploration, shown, pages = Exploration(share=0.5), Shown(), list[list[str]]()
    while True:
        page = shop.page(Wish(k, shown=shown), exploration)
        pages.append(ids(page))
        shown = shown.and_these(pages[-1])
        if not page.more:
            break

    found = [item_id for page in pages for item_id in page]
    assert sorted(found) == sorted([*shop.servable.bundle.items, *"xyz"])
    assert any(map(shop.is_new, pages[0]))


def test_popular_lists_reserve_no_places(shop: Shop) -> None:
    """They have their own way to try new items."""
    allowed = shop.filter(Wish(12))

    assert ids(make_page(allowed, None, Wish(12), Exploration(every=0, share=0.5))) == [*shop.servable.bundle.items]
    tried = ids(make_page(allowed, None, Wish(12), Exploration(every=4)))
    assert [item_id for item_id in tried if shop.is_new(item_id)] == ["z", "y", "x"]
    shop.servable.newcomers.note_shown(["z", "z", "y"])
    tried = ids(make_page(allowed, None, Wish(20), Exploration(every=4, until=2)))
    assert [item_id for item_id in tried if shop.is_new(item_id)] == ["x", "y", "z"]
    assert tried[-1] == "z"
