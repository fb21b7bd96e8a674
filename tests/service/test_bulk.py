"""Writing many items at once, and what it leaves behind when something fails."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import CapacityLimiter

from model_store import ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.bulk import Bulk
from service.catalog import Catalog, WriteLimits, Written
from service.domain import Entry, Item, PutItem, Record
from service.errors import EncodingFailed, ModelUnavailable, Overloaded, StorageUnavailable, UnknownModality
from service.handle import ServableHandle
from service.locks import ItemLocks
from service.metrics import Metrics
from service.servable import Servable

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio
TEXT = np.ones(4, np.float32)


class FullJournal(MemoryJournal):
    """A journal that takes no item called full; ``before`` lets a test do something first."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], object] = lambda: None

    def append(self, entry: Entry, *, expected: int | None = None) -> Future[Record]:
        """Writes an entry, or refuses it."""
        self.before()
        if isinstance(entry, PutItem) and entry.item.item_id == "full":
            refused: Future[Record] = Future()
            refused.set_exception(StorageUnavailable("full"))
            return refused
        return super().append(entry, expected=expected)


class Scene:
    """Both ways to write on the published version, with in-memory adapters."""

    def __init__(self, store: ModelStore, encoder: Any) -> None:
        bundle = store.load()
        self.encoder, self.journal = encoder, FullJournal()
        self.cache, self.handle = MemoryCache(1000), ServableHandle()
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.handle.exchange(self.servable)
        limits = WriteLimits(CapacityLimiter(2), CapacityLimiter(2))
        self.locks = limits.items
        self.catalog = Catalog(self.handle, self.journal, self.cache, Metrics(), limits)
        self.bulk = Bulk(self.handle, self.journal, self.cache, Metrics(), limits)

    def move_to(self, store: ModelStore, make_version: MakeVersion) -> Servable:
        """Lets another version begin to serve during the next encoding."""
        make_version(store, "v2", seed=1)
        bundle = store.load()
        successor = Servable(bundle, type(self.encoder)("v2"), MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.encoder.before = lambda: self.handle.exchange(successor)
        return successor


@pytest.fixture
def scene(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene."""
    return Scene(published_store, fake_encoder)


async def test_items_are_journalled_applied_and_cached(scene: Scene) -> None:
    """Each item is written in its order, searchable, cached; one encoding serves them all."""
    calls = []
    scene.encoder.before = lambda: calls.append(1)

    outcomes = await scene.bulk.put_many([Item("a", {"text": TEXT}), Item("i00"), Item("b")])

    assert [(o.item_id, o.created, o.seq) for o in outcomes] == [("a", True, 1), ("i00", False, 2), ("b", True, 3)]
    assert [record.entry.item.item_id for record in scene.journal.read()] == ["a", "i00", "b"]
    assert all(item_id in scene.servable for item_id in ("a", "b"))
    assert None not in await scene.cache.get_many(scene.servable.identity, [("a", 1), ("i00", 2), ("b", 3)])
    assert len(calls) == 1
    assert len(scene.locks) == 0


async def test_bad_items_do_not_stop_the_others(scene: Scene) -> None:
    """What the model, the encoder or the journal refuses has its error as outcome; the rest is written."""
    items = [Item("a"), Item("b", {"sound": TEXT}), Item("full"), Item("c", {"text": TEXT * 666}), Item("d")]

    outcomes = await scene.bulk.put_many(items)

    kinds = [Written, UnknownModality, StorageUnavailable, EncodingFailed, Written]
    assert [type(outcome) for outcome in outcomes] == kinds
    assert [item.item_id in scene.servable for item in items] == [True, False, False, False, True]
    assert [outcomes[0].seq, outcomes[4].seq] == [1, 2]


async def test_nothing_at_all_is_fine(scene: Scene) -> None:
    """No items, no outcomes, no records; nor where all of them are refused."""
    assert await scene.bulk.put_many([]) == []
    assert len(await scene.bulk.put_many([Item("b", {"sound": TEXT})])) == 1
    assert scene.journal.last_seq() == 0


async def test_later_one_of_the_same_id_holds(scene: Scene) -> None:
    """Both are written and acknowledged, in order, and the later one is what is found."""
    outcomes = await scene.bulk.put_many([Item("a", {"text": TEXT}), Item("a", {"text": TEXT * 2}, title="later")])

    assert [(outcome.created, outcome.seq) for outcome in outcomes] == [(True, 1), (False, 2)]
    assert scene.catalog.get("a").item.title == "later"
    np.testing.assert_array_equal(scene.servable.vector("a"), np.full(5, 8, np.float32))
    assert len(scene.servable.index) == 13


async def test_items_are_encoded_again_when_the_version_moves(
    scene: Scene, make_version: MakeVersion, published_store: ModelStore
) -> None:
    """A version that begins to serve while items are encoded encodes them again; nothing of the old one is written."""
    successor = scene.move_to(published_store, make_version)

    outcomes = await scene.bulk.put_many([Item("a"), Item("b")])

    assert [outcome.report.model_version for outcome in outcomes] == ["v2", "v2"]
    assert ("a" in successor, "a" in scene.servable) == (True, False)
    assert scene.journal.last_seq() == 2


async def test_patch_is_encoded_again_when_the_version_moves(
    scene: Scene, make_version: MakeVersion, published_store: ModelStore
) -> None:
    """A patch of a trained item takes the features of the version that serves in the end."""
    successor = scene.move_to(published_store, make_version)

    image = {"image": np.ones(3, np.float32)}

    def change(item: Item) -> Item:
        return item._replace(title="New", modalities={**item.modalities, **image})

    written = await scene.catalog.patch("i01", change)

    assert (written.report.model_version, written.seq) == ("v2", 1)
    features = scene.journal.find("i01").entry.item.modalities["text"]
    np.testing.assert_array_equal(features, successor.bundle.features["text"][1])
    assert (successor.title("i01"), scene.servable.title("i01")) == ("New", "Item 1")


async def test_callers_who_leave_do_not_split_records_and_index(scene: Scene) -> None:
    """Items whose writing had begun when the caller went away are all applied."""
    async with anyio.create_task_group() as tasks:
        scene.journal.before = lambda: anyio.from_thread.run_sync(tasks.cancel_scope.cancel)
        tasks.start_soon(scene.bulk.put_many, [Item("a"), Item("b")])

    assert scene.servable.index_seq == scene.journal.last_seq() == 2
    assert all(item_id in scene.servable for item_id in ("a", "b"))
    assert len(scene.locks) == 0


async def test_nothing_is_written_without_a_model(scene: Scene) -> None:
    """Where nothing serves there is one error for all."""
    bulk = Bulk(
        ServableHandle(), scene.journal, scene.cache, Metrics(), WriteLimits(CapacityLimiter(1), CapacityLimiter(1))
    )

    with pytest.raises(ModelUnavailable):
        await bulk.put_many([Item("a")])


async def test_patches_and_batches_keep_out_of_each_other(scene: Scene) -> None:
    """A patch reads what the batch before it wrote, whole or not at all, whatever their order."""
    await scene.catalog.put(Item("x", attributes={"n": 0}))

    def count(item: Item) -> Item:
        return item._replace(attributes={"n": int(item.attributes["n"]) + 1})

    async with anyio.create_task_group() as tasks:
        for start in (100, 200, 300):
            tasks.start_soon(scene.bulk.put_many, [Item("y"), Item("x", attributes={"n": start}), Item("z")])
            tasks.start_soon(scene.catalog.patch, "x", count)

    values = [r.entry.item.attributes["n"] for r in scene.journal.read() if r.entry.item.item_id == "x"]
    for before, after in pairwise(values):
        assert after in {before + 1, 100, 200, 300}, values


async def test_locks_exclude_each_other_and_are_forgotten() -> None:
    """Whoever asks for items that others hold waits, in whatever order the items are named; nothing stays."""
    locks = ItemLocks()
    inside: set[str] = set()

    async def hold(item_ids: list[str]) -> None:
        async with locks.hold(item_ids):
            assert inside.isdisjoint(item_ids)
            inside.update(item_ids)
            await anyio.lowlevel.checkpoint()
            inside.difference_update(item_ids)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            for item_ids in (["a", "b"], ["b", "a"], ["a", "a"], ["b", "c"], ["c", "a"], []):
                tasks.start_soon(hold, item_ids)
    assert len(locks) == 0


async def test_locks_outlive_callers_who_leave() -> None:
    """Whoever goes away while waiting, or while holding, leaves the items to the others."""
    locks = ItemLocks()

    async with anyio.create_task_group() as holder, locks.hold(["a"]):
        with anyio.move_on_after(0.01) as gave_up:
            async with locks.hold(["b", "a"]):
                pytest.fail("held twice")
        assert gave_up.cancelled_caught
        assert len(locks) == 1
        holder.cancel_scope.cancel()
    async with locks.hold(["a", "b"]):
        assert len(locks) == 2

    assert len(locks) == 0


async def test_lock_passes_on_from_whoever_leaves_as_it_comes() -> None:
    """Whose turn comes at the very moment they go away leaves it to the next one, who is waiting already."""
    locks = ItemLocks(wait_s=5)
    order: list[str] = []

    async def hold(name: str) -> None:
        async with locks.hold(["a", "b"]):
            order.append(name)

    async with locks.hold(["a"]):
        leaves = asyncio.create_task(hold("leaves"))
        stays = asyncio.create_task(hold("stays"))
        await asyncio.sleep(0)
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    await stays

    assert order == ["stays"]
    assert len(locks) == 0


async def test_whoever_waits_too_long_for_an_item_is_told() -> None:
    """With nothing of what was wanted kept from others."""
    locks = ItemLocks(wait_s=0.01)

    async with locks.hold(["b"]):
        with pytest.raises(Overloaded):
            async with locks.hold(["a", "b"]):
                pytest.fail("held twice")
        async with locks.hold(["a"]):
            assert len(locks) == 2

    assert len(locks) == 0


async def test_who_is_refused_is_told_how_many_wait() -> None:
    """And not how many items are held."""
    locks = ItemLocks(wait_s=0.01)

    async with locks.hold("abcdefgh"):
        with pytest.raises(Overloaded, match=r"^1 requests"):
            async with locks.hold(["a", "x"]):
                pytest.fail("held twice")


async def test_items_that_others_keep_are_refused_one_by_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be sent again; those of other batches are not touched by it."""
    monkeypatch.setattr(scene.locks, "_wait_s", 0.01)

    async with scene.locks.hold(["b"]):
        outcomes = await scene.bulk.put_many([Item("a"), Item("b")])

    assert [type(outcome) for outcome in outcomes] == [Overloaded, Overloaded]
    assert scene.journal.last_seq() == 0
    assert [type(outcome) for outcome in await scene.bulk.put_many([Item("a"), Item("b")])] == [Written, Written]
