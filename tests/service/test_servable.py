"""Servable: which record holds, and what the index shows of it."""

import gc
import itertools
import random
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import numpy as np
import pytest

from model_store import ModelStore
from service.adapters.memory import MemoryIndex
from service.adapters.segmented_index import SegmentedIndex
from service.domain import DeleteItem, Encoding, Item, PutItem, Record
from service.errors import ModelUnavailable
from service.facets import AttributeIs
from service.handle import ServableHandle
from service.online import Standing
from service.queries import Query
from service.servable import Servable

MakeServable = Callable[..., Servable]

NOW = datetime(2026, 6, 1, tzinfo=UTC)
QUERY = np.ones(5, np.float32)


def put(seq: int, item_id: str, **facts: object) -> Record:
    """A put record."""
    return Record(seq, NOW, PutItem(Item(item_id, **facts)))  # type: ignore[arg-type]


def put_since(seq: int, item_id: str, since: int | None, **facts: object) -> Record:
    """A put record whose features are older than itself."""
    return Record(seq, NOW, PutItem(Item(item_id, **facts), since))  # type: ignore[arg-type]


def delete(seq: int, item_id: str) -> Record:
    """A delete record."""
    return Record(seq, NOW, DeleteItem(item_id))


def vector(value: float, version: str = "v1") -> Encoding:
    """An encoding whose embedding is ``value`` everywhere."""
    return Encoding(np.full(5, value, np.float32), None, 0.5, (), ("image", "text"), version)


def score(servable: Servable, item_id: str) -> float | None:
    """The item's score in the index, or None."""
    hits = servable.index.search(QUERY, 1, allow=[item_id])
    return hits[0].score if hits else None


@pytest.fixture
def make_servable(published_store: ModelStore, fake_encoder: Any) -> MakeServable:
    """A Servable on the published version with a brute-force index."""

    def make(watermark: int = 0) -> Servable:
        bundle = published_store.load()
        index = MemoryIndex(list(bundle.items), bundle.item_embeddings)
        return Servable(bundle, fake_encoder, index, watermark=watermark)

    return make


@pytest.fixture
def servable(make_servable: MakeServable) -> Servable:
    """One without a watermark."""
    return make_servable()


def test_put_makes_an_item_searchable(servable: Servable) -> None:
    """A new item is there, visible, titled and counted; applying its record again changes nothing."""
    assert servable.apply(put(1, "new", title="New"), vector(2)) is False
    assert servable.apply(put(1, "new", title="Again"), vector(3)) is True

    assert "new" in servable
    assert servable.visible("new", NOW)
    assert servable.title("new") == "New"
    assert score(servable, "new") == 10
    assert (servable.index_seq, servable.online_items, len(servable.index)) == (1, 1, 13)


def test_put_overrides_the_bundle(servable: Servable) -> None:
    """A record newer than the model replaces the trained vector and description."""
    assert servable.apply(put(1, "i00", title="Mine"), vector(2)) is True

    assert score(servable, "i00") == 10
    assert servable.title("i00") == "Mine"
    assert len(servable.index) == 12


def test_delete_wins_over_the_bundle(make_servable: MakeServable) -> None:
    """A deleted item is gone whether the record is older or newer than the model."""
    for seq in (3, 30):
        servable = make_servable(watermark=10)

        assert servable.apply(delete(seq, "i00")) is True

        assert "i00" not in servable
        assert servable.get("i00") is None
        assert servable.title("i00") is None
        assert not servable.visible("i00", NOW)
        assert score(servable, "i00") is None


def test_put_within_the_training_data_keeps_the_trained_vector(make_servable: MakeServable) -> None:
    """Such a put needs no encoding: the trained vector stands, its owner's description and flags hold."""
    servable = make_servable(watermark=10)
    trained = score(servable, "i00")

    assert not servable.needs_encoding(put(5, "i00"))
    servable.apply(put(5, "i00", title="Mine"))
    servable.apply(put(6, "i01", hidden=True))

    assert score(servable, "i00") == trained
    assert servable.title("i00") == "Mine"
    assert servable.get("i00").report.confidence is None
    assert not servable.visible("i01", NOW)
    assert score(servable, "i01") is None


def test_trained_vector_comes_back(make_servable: MakeServable) -> None:
    """Deleted and put again within the training data, an item has its trained vector again."""
    servable = make_servable(watermark=10)
    trained = score(servable, "i00")

    servable.apply(delete(2, "i00"))
    servable.apply(put(4, "i00"))

    assert score(servable, "i00") == trained


def test_put_within_the_training_data_of_an_item_the_bundle_lacks_is_applied(make_servable: MakeServable) -> None:
    """Where the model was trained without the item after all, the record holds in full."""
    servable = make_servable(watermark=10)

    assert servable.needs_encoding(put(5, "new"))
    servable.apply(put(5, "new"), vector(2))

    assert score(servable, "new") == 10


@pytest.mark.parametrize(("since", "encoded"), [(0, False), (1, False), (10, False), (11, True), (None, True)])
def test_trained_vector_stands_by_the_age_of_the_features(
    make_servable: MakeServable, since: int | None, *, encoded: bool
) -> None:
    """A record after the watermark needs an encoding only where its features are as late, as by itself they are."""
    servable = make_servable(watermark=10)
    trained = score(servable, "i00")
    record = put_since(30, "i00", since, title="Mine")

    assert servable.needs_encoding(record) == encoded
    servable.apply(record, vector(2) if encoded else None)

    assert score(servable, "i00") == (10 if encoded else trained)
    assert servable.stands_by_content("i00") == encoded
    assert servable.title("i00") == "Mine"


def test_age_of_features_means_nothing_to_a_model_without_the_item(make_servable: MakeServable) -> None:
    """However old they are, they have to be encoded."""
    servable = make_servable(watermark=10)

    assert servable.needs_encoding(put_since(30, "new", 0))
    with pytest.raises(ValueError, match="expected an encoding by v1"):
        servable.apply(put_since(30, "new", 0))

    assert "new" not in servable


TEXT = {"text": np.array([1, 2, 3, 4], np.float32)}


def test_what_stands_is_told_of_items_with_the_same_features(servable: Servable) -> None:
    """Of trained ones as the training data has them, of others as they were written; deleted ones have none."""
    bundle = servable.bundle
    own = {"text": np.array(bundle.features["text"][1])}  # i01 has no image
    servable.apply(put(1, "new", modalities=TEXT), vector(2))
    servable.apply(put_since(2, "new", 1, modalities=TEXT, hidden=True), vector(2))
    servable.apply(delete(3, "i02"))

    assert servable.standing(Item("i01", own)) == Standing(0, None, 0)
    found = servable.standing(Item("new", {"text": TEXT["text"].copy()}))
    assert found is not None
    assert (found.since, found.encoding.embedding.tolist()) == (1, [2] * 5)
    for other in (
        Item("i01"),
        Item("i01", {"text": own["text"] + 1}),
        Item("i01", own | {"image": np.zeros(3, np.float32)}),
        Item("new"),
        Item("new", {"image": TEXT["text"]}),
        Item("new", {"text": TEXT["text"][:3]}),
        Item("i02", {name: np.array(table[2]) for name, table in bundle.features.items()}),
        Item("nobody", TEXT),
        Item("nobody"),
    ):
        assert servable.standing(other) is None, other


def test_features_are_told_apart_whatever_they_are_called(servable: Servable) -> None:
    """Names and lengths are part of what is compared."""
    two = np.ones(2, np.float32)
    servable.apply(put(1, "new", modalities={"a": two, "b": two}), vector(2))

    assert servable.standing(Item("new", {"b": two, "a": two})) is not None
    for other in ({"a": np.ones(4, np.float32)}, {"a": two, "bb": two}, {"a": np.ones(1, np.float32), "b": two}):
        assert servable.standing(Item("new", other)) is None


def test_untouched_items_come_by_id(servable: Servable) -> None:
    """Those of the bundle the journal never spoke of, from the first one after an id, there or not."""
    servable.apply(put(1, "i01"), vector(2))
    servable.apply(delete(2, "i04"))
    servable.apply(put(3, "new"), vector(2))

    assert list(servable.untouched(""))[:4] == [("i00", 0), ("i02", 2), ("i03", 3), ("i05", 5)]
    assert [item_id for item_id, _ in servable.untouched("i04")][:2] == ["i05", "i06"]
    assert [item_id for item_id, _ in servable.untouched("i04x")][:1] == ["i05"]
    assert list(servable.untouched("i11")) == list(servable.untouched("zzz")) == []
    assert len(list(servable.untouched(""))) == 10


HISTORY = [
    (put(1, "x"), vector(1)),
    (delete(2, "x"), None),
    (put(3, "x", hidden=True), vector(3)),
    (put(4, "x", title="last"), vector(4)),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
@pytest.mark.parametrize("item_id", ["x", "i00"])
def test_order_of_application_does_not_matter(servable: Servable, item_id: str, order: tuple[int, ...]) -> None:
    """Whatever order threads apply an item's records in, the last written one holds."""
    for n in order:
        record, encoding = HISTORY[n]
        entry = record.entry
        renamed = (
            DeleteItem(item_id)
            if isinstance(entry, DeleteItem)
            else PutItem(Item(item_id, title=entry.item.title, hidden=entry.item.hidden))
        )
        servable.apply(Record(record.seq, NOW, renamed), encoding)

    assert servable.title(item_id) == "last"
    assert score(servable, item_id) == 20
    assert servable.index_seq == 4
    assert servable.online_items == 1
    assert list(servable.newcomers.split(0)[0]) == ([item_id] if item_id == "x" else [])


def test_hidden_and_unavailable_items_leave_the_index_and_return(servable: Servable) -> None:
    """An item that may not be shown is kept, out of the index; put again without the flag it is back."""
    for seq, facts in enumerate(({"hidden": True}, {"available": False}), start=1):
        servable.apply(put(2 * seq, "new", **facts), vector(1))
        assert "new" in servable
        assert not servable.visible("new", NOW)
        assert score(servable, "new") is None

        servable.apply(put(2 * seq + 1, "new"), vector(1))
        assert score(servable, "new") == 5


def test_items_expire_at_their_time(servable: Servable) -> None:
    """From the moment of expiry on the item is neither visible nor in the index; a later put prolongs it."""
    later = NOW + timedelta(hours=1)
    servable.apply(put(1, "a", expires_at=NOW), vector(1))
    servable.apply(put(2, "b", expires_at=later), vector(1))
    servable.apply(put(3, "c", expires_at=NOW), vector(1))
    servable.apply(put(4, "c", expires_at=later), vector(1))
    servable.apply(put(5, "d", expires_at=NOW), vector(1))
    servable.apply(delete(6, "d"))

    servable.expire(NOW)

    assert [score(servable, i) for i in "abcd"] == [None, 5, 5, None]
    assert [servable.visible(i, NOW) for i in "abcd"] == [False, True, True, False]
    assert [servable.visible(i, later) for i in "bc"] == [False, False]
    assert "a" in servable


def test_a_clock_that_was_wrong_takes_nothing_away_for_good(servable: Servable) -> None:
    """What expired in a future that did not come is found again, but for what was written or deleted meanwhile."""
    later, future = NOW + timedelta(days=1), NOW + timedelta(days=900)
    for seq, item_id in enumerate(("i04", "a", "b", "c"), start=1):
        servable.apply(put(seq, item_id, expires_at=later), vector(seq))
    servable.apply(put(5, "past", expires_at=NOW - timedelta(days=1)), vector(1))
    servable.expire(NOW)
    before = {item_id: score(servable, item_id) for item_id in ("i04", "a", "b", "c", "past")}

    servable.expire(future)
    gone = [score(servable, item_id) for item_id in before]
    servable.apply(delete(6, "b"))
    servable.apply(put(7, "c", expires_at=future + timedelta(days=1)), vector(9))
    changes = servable.changes
    servable.expire(NOW)

    assert gone == [None] * 5
    assert {item_id: score(servable, item_id) for item_id in before} == {**before, "b": None, "c": 45.0}
    assert servable.changes > changes
    servable.expire(later)
    assert score(servable, "a") is None
    assert score(servable, "c") == 45.0


@pytest.mark.parametrize("seed", range(20))
def test_any_clock_finds_what_has_not_expired(servable: Servable, seed: int) -> None:
    """Written before or after their time, looked at by a clock that goes forth and back."""
    rng = random.Random(seed)
    ends: dict[str, int] = {}
    for seq in range(1, 120):
        if rng.random() < 0.5:
            name = rng.choice("abcdefgh")
            ends[name] = rng.randrange(100)
            servable.apply(put(seq, name, expires_at=NOW + timedelta(seconds=ends[name])), vector(1))
        now = rng.randrange(100)
        servable.expire(NOW + timedelta(seconds=now))

        assert {name for name in ends if score(servable, name) is not None} == {
            name for name, end in ends.items() if end > now
        }
        assert servable._expired == sorted(servable._expired)


def test_items_that_are_written_often_are_remembered_to_expire_once(servable: Servable) -> None:
    """Or little more often: a shop that writes its prices every hour must not fill the memory until offers end."""
    for seq in range(1, 1001):
        servable.apply(put(seq, "ab"[seq % 2], expires_at=NOW + timedelta(seconds=seq)), vector(1))

    assert len(servable._expiries) < 100
    servable.expire(NOW + timedelta(seconds=999))
    assert [score(servable, item_id) for item_id in "ab"] == [5, None]
    servable.expire(NOW + timedelta(seconds=1000))
    assert [score(servable, item_id) for item_id in "ab"] == [None, None]


def test_foreign_encodings_are_refused(servable: Servable) -> None:
    """An item vector of another model version can never enter the index."""
    for encoding in (vector(1, "v2"), None):
        with pytest.raises(ValueError, match="expected an encoding by v1"):
            servable.apply(put(1, "new"), encoding)

    assert "new" not in servable
    assert score(servable, "new") is None


def test_descriptions_hold_no_features(servable: Servable) -> None:
    """Raw features are not kept in memory once they are encoded."""
    servable.apply(put(1, "new", modalities={"text": np.ones(4, np.float32)}), vector(1))

    assert servable.get("new").item.modalities == {}


def test_popular_ranks_by_popularity_then_id(servable: Servable) -> None:
    """The trained items come by falling popularity."""
    assert list(servable.popular())[:2] == [("i00", 12.0), ("i01", 11.0)]
    assert len(list(servable.popular())) == 12


def test_empty_handle_says_why() -> None:
    """Before anything serves, the reason is given."""
    handle = ServableHandle()
    handle.explain("nothing promoted")

    assert handle.peek is None
    with pytest.raises(ModelUnavailable, match="nothing promoted"):
        _ = handle.current


@pytest.mark.anyio
async def test_exchange_waits_for_writers_and_keeps_new_ones_out() -> None:
    """While a writer is at work no exchange happens, and while one happens nobody writes."""
    handle = ServableHandle()
    events: list[str] = []
    writing, finish = anyio.Event(), anyio.Event()

    async def write(name: str, *, hold: bool = False) -> None:
        async with handle.writing():
            events.append(f"{name} begins")
            if hold:
                writing.set()
                await finish.wait()
            events.append(f"{name} ends")

    async def exchange() -> None:
        async with handle.exchanging():
            events.append("exchange begins")
            await anyio.wait_all_tasks_blocked()
            events.append("exchange ends")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: write("first", hold=True))
        await writing.wait()
        tasks.start_soon(exchange)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(write, "second")
        await anyio.wait_all_tasks_blocked()
        finish.set()

    assert events == [
        "first begins",
        "first ends",
        "exchange begins",
        "exchange ends",
        "second begins",
        "second ends",
    ]


@pytest.mark.anyio
async def test_cancelled_exchange_lets_writers_in_again() -> None:
    """An exchange that is given up while it waits leaves the gate open."""
    handle = ServableHandle()

    async with handle.writing():
        with anyio.move_on_after(0.01):
            async with handle.exchanging():
                pytest.fail("a writer was at work")

    with anyio.fail_after(1):
        async with handle.writing():
            pass


def test_memory_of_a_servable_is_free_once_nobody_holds_it(published_store: ModelStore, fake_encoder: Any) -> None:
    """It stands in no circle of references, so that no collector need come for an old version."""
    bundle = published_store.load()
    servable = Servable(bundle, fake_encoder, SegmentedIndex(bundle.items, bundle.item_embeddings, remembered=5))
    servable.apply(put(1, "new", categories=("x",), attributes={"size": 3}), vector(2))
    servable.facets.matching(("x",), (AttributeIs("size", least=1), AttributeIs("brand")))
    servable.index.search_many([Query(QUERY, 3, key="u")])
    gone = weakref.ref(servable), weakref.ref(servable.index)

    gc.disable()
    try:
        del servable
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()
