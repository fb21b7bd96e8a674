"""Pages with a cap on their categories: what stands on them, and how little is looked for."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import IdMap
from service.adapters.memory import MemoryIndex
from service.chosen import Chosen
from service.exploration import Exploration
from service.filters import Filter
from service.lists import Wish, make_page
from service.newcomers import Newcomers
from service.queries import Hits, Query
from service.servable import Servable

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TASTE = np.ones(1, np.float32)
EVERYTHING = 10_000


class Counting(MemoryIndex):
    """An index that remembers how many hits it was asked for."""

    def search_many(self, queries: Any) -> list[Hits]:
        """As ever."""
        self.wanted = [*getattr(self, "wanted", []), *(query.k for query in queries)]
        return super().search_many(queries)


@dataclass
class Bundle:
    """As much of one as lists look at."""

    items: IdMap


@dataclass
class Shop:
    """As much of a Servable as lists look at: items with scores, the highest first, and with categories."""

    of_item: list[tuple[str, ...]]
    of_new: dict[str, tuple[str, ...]] = field(default_factory=dict)
    newcomers: Newcomers = field(default_factory=Newcomers)
    looked_at: int = 0

    def __post_init__(self) -> None:
        for seq, item_id in enumerate(reversed(self.of_new)):
            self.newcomers.put(item_id, seq)
        self.ids = [f"i{n:05}" for n in range(len(self.of_item))]
        self.bundle = Bundle(IdMap(self.ids))
        rows = np.arange(len(self.ids), 0, -1, dtype=np.float32)[:, None]
        self.index = Counting(self.ids, rows)
        self.facets = self

    def categories(self, item_id: str) -> tuple[str, ...]:
        """Of an item."""
        return self.of_new[item_id] if item_id in self.of_new else self.of_item[int(item_id[1:])]

    def visible(self, item_id: str, now: datetime) -> bool:  # noqa: ARG002
        """Always."""
        self.looked_at += 1
        return True

    def vector(self, item_id: str) -> Any:
        """Of an item."""
        return np.array([len(self.ids) - int(item_id[1:])], np.float32)

    def popular(self, among: Any = None) -> Any:
        """In the order of the scores."""
        return ((i, float(-n)) for n, i in enumerate(self.ids) if among is None or among[n])

    def matching(self, categories: Any, attributes: Any) -> Chosen:  # noqa: ARG002
        """Of any of the categories."""
        rows = [n for n, own in enumerate(self.of_item) if {*own} & {*categories}]
        return Chosen(frozenset(), np.array(rows, np.int32), self.bundle.items)

    def filter(self) -> Filter:
        """That allows everything."""
        return Filter(self, frozenset(), NOW)  # type: ignore[arg-type]


def by_the_rule(shop: Shop, k: int, most: int) -> list[str]:
    """One after the other, best first, whoever fits."""
    counts: Counter[str] = Counter()
    page: list[str] = []
    for item_id in shop.ids:
        own = set(shop.categories(item_id))
        if len(page) < k and all(counts[name] < most for name in own):
            counts.update(own)
            page.append(item_id)
    return page


def popular_by_the_rule(shop: Shop, most: int, every: int) -> list[str]:
    """Whoever fits, most popular first, and at every so many-th place the next new item that fits."""
    counts: Counter[str] = Counter()
    page: list[str] = []

    def try_next(item_id: str) -> None:
        own = set(shop.categories(item_id))
        if all(counts[name] < most for name in own):
            counts.update(own)
            page.append(item_id)

    new = list(shop.of_new)
    for item_id in shop.ids:
        while new and (len(page) + 1) % every == 0:
            try_next(new.pop(0))
        try_next(item_id)
    while new:
        try_next(new.pop(0))
    return page


catalogues = st.lists(st.lists(st.sampled_from("abcdef"), max_size=3).map(tuple), max_size=60)


@settings(max_examples=300, deadline=None)
@given(of_item=catalogues, k=st.integers(1, 8), most=st.integers(1, 3), known=st.booleans())
def test_a_capped_page_is_whoever_fits_in_turn(of_item: Any, k: int, most: int, known: bool) -> None:
    """Personal and popular, for any catalogue; there is more where something is left."""
    shop = Shop(of_item)

    page = make_page(shop.filter(), TASTE if known else None, Wish(k, max_per_category=most), Exploration())

    assert [hit.item_id for hit in page.hits] == by_the_rule(shop, k, most)
    assert page.more == (len(page.hits) < len(of_item))


new_items = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=2).map(tuple), max_size=9)


@settings(max_examples=300, deadline=None)
@given(of_item=catalogues, new=new_items, k=st.integers(1, 8), most=st.integers(1, 3), every=st.integers(2, 5))
def test_new_items_have_their_places_among_those_that_fit(
    of_item: Any, new: Any, k: int, most: int, every: int
) -> None:
    """Popular lists, whatever their length; what no longer fits takes no place."""
    shop = Shop(of_item, {f"n{n}": own for n, own in enumerate(new)})

    page = make_page(shop.filter(), None, Wish(k, max_per_category=most), Exploration(every=every))

    assert [hit.item_id for hit in page.hits] == popular_by_the_rule(shop, most, every)[:k]
    assert page.more == (len(page.hits) < len(of_item) + len(new))


@pytest.mark.parametrize(("k", "length"), [(17, 17), (18, 18), (20, 19), (50, 19)])
def test_a_popular_page_that_cannot_be_filled_does_not_look_at_everything(k: int, length: int) -> None:
    """Each of 18 categories has one item on it, and so has the last item of all, which is of none."""
    shop = Shop([*((f"c{n % 18}",) for n in range(EVERYTHING)), ()])

    page = make_page(shop.filter(), None, Wish(k, max_per_category=1), Exploration())

    assert (len(page.hits), page.more) == (length, True)
    assert shop.looked_at <= 2 * (5 * k + 1)


@pytest.mark.parametrize(("k", "length"), [(17, 17), (18, 18), (20, 18), (50, 18)])
def test_a_page_that_cannot_be_filled_does_not_look_at_everything(k: int, length: int) -> None:
    """There are 18 categories, as MovieLens has, of which a page may have one item each."""
    shop = Shop([(f"c{n % 18}",) for n in range(EVERYTHING)])

    page = make_page(shop.filter(), TASTE, Wish(k, max_per_category=1), Exploration())

    assert (len(page.hits), page.more) == (length, True)
    assert sum(shop.index.wanted) <= 2 * (5 * k + 1)


def test_categories_far_down_are_found_in_few_steps() -> None:
    """Each search leaves out what is full; none is for more than the one before."""
    shop = Shop([("common",)] * (EVERYTHING - 2) + [("rare",), ()])

    page = make_page(shop.filter(), TASTE, Wish(3, max_per_category=1), Exploration())

    assert [hit.item_id for hit in page.hits] == ["i00000", *shop.ids[-2:]]
    assert len(shop.index.wanted) <= 3
    assert max(shop.index.wanted) <= 5 * 3 + 1


def test_diversity_chooses_among_those_that_fit() -> None:
    """Also where as many fit as there are places."""
    shop = Shop([(f"c{n % 3}",) for n in range(EVERYTHING)])

    page = make_page(shop.filter(), TASTE, Wish(3, max_per_category=1, diversity=0.5), Exploration())

    assert sorted(hit.item_id for hit in page.hits) == ["i00000", "i00001", "i00002"]
    assert len(shop.index.wanted) <= 2


def test_filters_find_only_what_popular_lists_need(published_store: Any, fake_encoder: Any) -> None:
    """Rows that are asked for, written items among them, less those that are kept out."""
    bundle = published_store.load()
    servable = Servable(bundle, fake_encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
    only = Chosen(frozenset({"i05", "new"}), np.array([1, 2], np.int32), bundle.items)

    masks = [
        Filter(servable, frozenset(), NOW).mask(),
        Filter(servable, frozenset(), NOW, only).mask(),
        Filter(servable, frozenset(), NOW, only, np.array([2])).mask(),
        Filter(servable, frozenset(), NOW, None, np.array([0, 2])).mask(),
    ]

    assert [None if mask is None else np.flatnonzero(mask).tolist() for mask in masks] == [
        None, [1, 2, 5], [1, 5], [1, *range(3, 12)]
    ]  # fmt: skip
    assert [item_id for item_id, _ in servable.popular(masks[1])] == ["i01", "i02", "i05"]


def test_queries_leave_out_full_categories() -> None:
    """Beside what was left out before."""
    shop = Shop([("a",), ("b",), ("a", "b"), ()])
    allowed = Filter(shop, frozenset({"x"}), NOW, None, np.array([3], np.int32))  # type: ignore[arg-type]

    query: Query = allowed.without({"a"}).query(TASTE, 5)

    assert (set(query.exclude), query.exclude_rows.tolist()) == ({"x"}, [0, 2, 3])  # type: ignore[union-attr]
    assert allowed.without(()) is allowed
