"""Places of lists, made into JSON of what is at hand."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import labels
from service.domain import Suggestion
from service.labels import Labels, Places
from service.paging import Shown
from service.queries import Hit, Hits

TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('%"\\\0\x7f{}é☃'), max_size=12)
SCORES = st.floats() | st.sampled_from([0.0, 1.0, 1e-9, 1e300, 0.1, 1 / 3])


class Shop:
    """A bundle's items and their titles; those that were written since come as they are now."""

    def __init__(self, trained: dict[str, str | None]) -> None:
        self.trained = trained
        self.bundle = self
        self.items = self
        self.written: dict[str, tuple[int, str | None]] = {}  # with the record that says so
        self.looked_up: list[str] = []

    def numbered(self, hits: Sequence[Hit]) -> Hits:
        """Rows, and others beyond."""
        names = [*self.trained, *(self.written.keys() - self.trained.keys())]
        slots = [names.index(hit.item_id) for hit in hits]
        return Hits(slots, [hit.score for hit in hits], lambda some: [names[slot] for slot in some])

    def written_among(self, slots: Sequence[int]) -> list[int]:
        """Of whom somebody has spoken."""
        trained = list(self.trained)
        return [n for n, slot in enumerate(slots) if slot >= len(trained) or trained[slot] in self.written]

    def latest_seq(self, item_id: str) -> int:
        """Who spoke last."""
        return self.written[item_id][0]

    def title(self, item_id: str) -> str | None:
        """As it is now."""
        self.looked_up.append(item_id)
        return self.written[item_id][1]

    def __len__(self) -> int:
        return len(self.trained)

    def ids(self, rows: Sequence[int]) -> list[str]:
        """By row."""
        return [list(self.trained)[row] for row in rows]

    def trained_titles(self, rows: Sequence[int]) -> list[str | None]:
        """As they were."""
        self.looked_up += self.ids(rows)
        return [self.trained[item_id] for item_id in self.ids(rows)]


def hits_of(scores: dict[str, float]) -> list[Hit]:
    """Items with these scores."""
    return [Hit(item_id, score) for item_id, score in scores.items()]


def places_of(shop: Any, scores: dict[str, float], made: Labels | None = None) -> Places:
    """A list of items with these scores."""
    return (made or Labels()).places(shop, hits_of(scores))


@given(st.dictionaries(TEXTS, st.tuples(SCORES, TEXTS | st.none())))
def test_places_are_what_orjson_would_write(items: dict[str, tuple[float, str | None]]) -> None:
    """Byte for byte, whatever the ids, titles and scores."""
    expected = [
        {"item_id": item_id, "score": score, "rank": rank, "title": title}
        for rank, (item_id, (score, title)) in enumerate(items.items(), start=1)
    ]
    shop = Shop({item_id: title for item_id, (_, title) in items.items()})

    assert places_of(shop, {item_id: score for item_id, (score, _) in items.items()}).as_json() == orjson.dumps(
        expected
    )


def test_places_are_a_sequence_of_suggestions() -> None:
    """Whoever looks at them finds ids, scores and titles, in order, and equal to a list of the same."""
    places = places_of(Shop({"a": "A%", "b": None}), {"b": 0.5, "a": 0.25})
    spelled_out = [Suggestion("b", 0.5, None), Suggestion("a", 0.25, "A%")]

    assert list(places) == spelled_out
    assert (places[0], places[-1], places[:1], len(places)) == (*spelled_out, spelled_out[:1], 2)
    assert places == spelled_out
    assert places != spelled_out[::-1]
    assert places == places_of(Shop({"a": "A%", "b": None}), {"b": 0.5, "a": 0.25})


def test_labels_are_made_once() -> None:
    """What one list has asked for is at hand for the next, which asks for the rest alone."""
    shop, made = Shop({"a": "A", "b": "B", "c": "C"}), Labels()

    for item_ids in ("ab", "bca", "cba"):
        found = places_of(shop, dict.fromkeys(item_ids, 0.0), made)
        assert found.cursor(Shown()) == Shown().and_these(item_ids).cursor()
        assert [(item.item_id, item.title) for item in found] == [(item_id, item_id.upper()) for item_id in item_ids]

    assert shop.looked_up == ["a", "b", "c"]


def test_labels_of_many_threads() -> None:
    """Whoever learns what others learn at the same time finds what belongs to each item."""
    ids = [f"item-{n}" for n in range(400)]
    shop, made = Shop({item_id: f"title of {item_id}" for item_id in ids}), Labels()

    def read(start: int) -> bool:
        some = dict.fromkeys(ids[start : start + 40], 0.0)
        return [item.title for item in places_of(shop, some, made)] == [f"title of {item_id}" for item_id in some]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, [start for start in range(0, 360, 5) for _ in range(3)]))


def test_what_was_written_is_said_as_it_is_now() -> None:
    """Also where it was said otherwise before; the others' labels stay at hand."""
    shop, made = Shop({"a": "A", "b": "B"}), Labels()
    places_of(shop, {"a": 1.0, "b": 0.5}, made)
    for seq, title in enumerate(("new", "newer", None), start=7):
        shop.written = {"a": (seq, title), "x": (2, "X")}

        for _ in range(2):
            found = places_of(shop, {"x": 2.0, "a": 1.0, "b": 0.5}, made)

            assert [item.title for item in found] == ["X", title, "B"]
    assert sorted(shop.looked_up) == ["a", "a", "a", "a", "b", "x"]


def test_versions_have_labels_of_their_own() -> None:
    """An item may have another title in another one."""
    made = Labels()

    titles = [places_of(Shop({"a": title}), {"a": 1.0}, made)[0].title for title in ("old", "new")]

    assert titles == ["old", "new"]


def test_not_more_is_kept_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much is forgotten, and made again."""
    monkeypatch.setattr(labels, "MOST", 1)
    shop, made = Shop({"a": "A", "b": "B"}), Labels()

    for _ in range(2):
        places_of(shop, {"a": 1.0, "b": 0.5}, made)

    assert shop.looked_up == ["a", "b", "a", "b"]
