"""The write use cases, and what they leave behind when something fails."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import CapacityLimiter

from model_store import ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.catalog import Catalog, WriteLimits
from service.domain import Entry, Item, Record
from service.errors import EncodingFailed, StorageUnavailable, UnknownItem, UnknownModality
from service.handle import ServableHandle
from service.metrics import Metrics
from service.servable import Servable

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio
TEXT = np.ones(4, np.float32)


class HeldJournal(MemoryJournal):
    """A journal whose writes are acknowledged, or refused, when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[tuple[Entry, Future[Record]]] = []
        self.waiting = anyio.Event()

    def append(self, entry: Entry, *, expected: int | None = None) -> Future[Record]:  # noqa: ARG002 - of every journal
        """Holds the entry."""
        future: Future[Record] = Future()
        self.held.append((entry, future))
        self.waiting.set()
        return future

    def acknowledge(self) -> None:
        """Writes what is held."""
        for entry, future in self.held:
            future.set_result(super().append(entry).result())
        self.held = []


class Scene:
    """A catalogue on the published version with in-memory adapters."""

    def __init__(self, store: ModelStore, encoder: Any, journal: MemoryJournal) -> None:
        bundle = store.load()
        self.encoder, self.journal = encoder, journal
        self.cache, self.handle = MemoryCache(100), ServableHandle()
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.handle.exchange(self.servable)
        limits = WriteLimits(CapacityLimiter(2), CapacityLimiter(2))
        self.catalog = Catalog(self.handle, journal, self.cache, Metrics(), limits)


@pytest.fixture
def scene(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene whose journal answers at once."""
    return Scene(published_store, fake_encoder, MemoryJournal())


@pytest.fixture
def held(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene whose journal waits for the test."""
    return Scene(published_store, fake_encoder, HeldJournal())


async def test_put_journals_applies_and_caches(scene: Scene) -> None:
    """After a put the record is written, the item searchable, its encoding cached."""
    written = await scene.catalog.put(Item("new", {"text": TEXT}))

    assert (written.created, written.seq) == (True, 1)
    assert [record.seq for record in scene.journal.read()] == [1]
    assert "new" in scene.servable
    assert (await scene.cache.get_many(scene.handle.current.identity, [("new", 1)]))[0] is not None
    assert (await scene.catalog.put(Item("new"))).created is False


async def test_failed_checks_and_encodings_change_nothing(scene: Scene) -> None:
    """An item the model or its encoder refuses leaves no record and no trace."""
    with pytest.raises(UnknownModality):
        await scene.catalog.put(Item("new", {"sound": TEXT}))
    with pytest.raises(EncodingFailed):
        await scene.catalog.put(Item("new", {"text": TEXT * 666}))

    assert scene.journal.last_seq() == 0
    assert "new" not in scene.servable


async def test_refused_writes_change_nothing(scene: Scene) -> None:
    """Where the journal refuses, the catalogue stays as it was."""
    scene.journal.close()

    with pytest.raises(StorageUnavailable):
        await scene.catalog.put(Item("new"))
    with pytest.raises(StorageUnavailable):
        await scene.catalog.delete("i00")

    assert "new" not in scene.servable
    assert "i00" in scene.servable


async def test_unknown_items_cannot_be_deleted(scene: Scene) -> None:
    """Deleting what is not there is an error and writes nothing."""
    with pytest.raises(UnknownItem):
        await scene.catalog.delete("new")

    assert scene.journal.last_seq() == 0


async def test_nothing_is_searchable_before_it_is_durable(held: Scene) -> None:
    """While the journal has not acknowledged, the item is not there."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(held.catalog.put, Item("new"))
        await held.journal.waiting.wait()
        assert "new" not in held.servable
        held.journal.acknowledge()

    assert "new" in held.servable


async def test_callers_who_leave_do_not_split_record_and_index(held: Scene) -> None:
    """A put cancelled while the journal writes is still applied once the record is on disk."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(held.catalog.put, Item("new"))
        await held.journal.waiting.wait()
        tasks.cancel_scope.cancel()
        held.journal.acknowledge()

    assert "new" in held.servable
    assert held.servable.index_seq == 1


async def test_put_is_encoded_again_when_the_version_moves(
    scene: Scene, make_version: MakeVersion, published_store: ModelStore
) -> None:
    """A version that begins to serve while an item is encoded encodes it again; nothing of the old one is written."""
    make_version(published_store, "v2", seed=1)
    bundle = published_store.load()
    new_encoder = type(scene.encoder)("v2")
    successor = Servable(bundle, new_encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
    scene.encoder.before = lambda: scene.handle.exchange(successor)

    written = await scene.catalog.put(Item("new", {"text": TEXT}))

    assert written.report.model_version == "v2"
    assert (scene.encoder.encoded, new_encoder.encoded) == (1, 1)
    assert "new" in successor
    assert "new" not in scene.servable
    assert scene.journal.last_seq() == 1
