"""Loading, replaying and exchanging model versions."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from model_store import Bundle, ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.building import Builder, Engines
from service.domain import DeleteItem, Item, PutItem
from service.handle import ServableHandle
from service.loading import Loading
from service.metrics import Metrics
from service.ports import Encoder
from service.queries import Hit
from service.replay import Replay
from service.sync import ModelFollower
from service.trained import identity_of

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio
TEXT = np.ones(4, np.float32)
VERIFIED = 8  # items encoded to try a version before it serves


class Scene:
    """A follower with in-memory adapters and fake encoders."""

    def __init__(self, store: ModelStore, encoder_type: type) -> None:
        self.store, self.journal, self.cache = store, MemoryJournal(), MemoryCache(1000)
        self.handle, self.metrics = ServableHandle(), Metrics()
        self.encoders: list = []
        self.opening: Callable[[], object] = lambda: None
        self.encoding: Callable[[], object] = lambda: None

        def open_encoder(bundle: Bundle) -> Encoder:
            self.opening()
            encoder = encoder_type(bundle.version, modalities=bundle.manifest.modality_names)
            encoder.before = lambda: self.encoding()  # noqa: PLW0108 - looked up when it is called
            self.encoders.append(encoder)
            return encoder

        self.follower = self.successor(Engines(open_encoder, MemoryIndex))

    def successor(self, engines: Engines) -> ModelFollower:
        """A follower on the same backends."""
        builder = Builder(self.store, self.journal, Replay(self.cache), engines)
        return ModelFollower(Loading(builder, self.handle), self.handle, self.cache, self.metrics)

    def put(self, item_id: str, **modalities: np.ndarray) -> None:
        """Journals an item."""
        self.journal.append(PutItem(Item(item_id, modalities)))

    def swaps(self, result: str) -> float:
        """How many exchanges ended so."""
        return self.metrics.registry.get_sample_value("i3rec_model_swaps_total", {"result": result}) or 0


@pytest.fixture
def scene(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene on the published store, nothing loaded yet."""
    return Scene(published_store, type(fake_encoder))


async def test_refresh_loads_bundle_and_journal(scene: Scene) -> None:
    """The promoted version serves, with all items written online and none of the deleted ones."""
    for n in range(600):
        scene.put(f"n{n}", text=TEXT * n)
    scene.journal.append(DeleteItem("n0"))
    scene.journal.append(DeleteItem("i00"))

    await scene.follower.refresh()

    servable = scene.handle.current
    assert (servable.version, servable.index_seq, servable.online_items) == ("v1", 602, 599)
    assert len(servable.index) == 12 + 600 - 2
    assert scene.swaps("done") == 1


async def test_cached_encodings_are_not_made_again(
    scene: Scene, published_store: ModelStore, fake_encoder: Any
) -> None:
    """A restart finds its encodings in the cache; only what is missing there is encoded."""
    scene.put("a", text=TEXT)
    await scene.follower.refresh()
    restarted = Scene(published_store, type(fake_encoder))
    restarted.journal, restarted.cache = scene.journal, scene.cache
    scene.put("b", text=TEXT)
    engines = Engines(lambda _: fake_encoder, MemoryIndex)
    builder = Builder(scene.store, scene.journal, Replay(scene.cache), engines)
    handle = ServableHandle()
    follower = ModelFollower(Loading(builder, handle), handle, scene.cache, Metrics())

    await follower.refresh()

    assert fake_encoder.encoded == 1 + VERIFIED


@pytest.mark.parametrize(
    "change",
    [
        {"embedding": np.ones(3, np.float32)},
        {"history_embedding": np.ones(3, np.float32)},
        {"history_embedding": None},
        {"missing": ("image", "sound")},
        {"missing": ()},
        {"present": ("image", "text")},
        {"embedding": np.full(5, 1e6, np.float32)},
        {"history_embedding": np.full(5, 1e30, np.float32)},
    ],
    ids=str,
)
async def test_cached_encodings_of_another_make_are_made_again(
    scene: Scene, fake_encoder: Any, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """One that cannot be of this model, by its shape, names or length, is a miss that is told of, and is replaced."""
    scene.put("a", text=TEXT)
    scene.put("b", text=TEXT)
    a, b = fake_encoder.encode([{"text": TEXT}] * 2)
    model = identity_of(scene.store.load("v1"))
    await scene.cache.put_many(model, {("a", 1): a._replace(**change), ("b", 2): b})

    await scene.follower.refresh()

    assert scene.encoders[0].encoded == 1 + VERIFIED
    (replaced,) = await scene.cache.get_many(model, [("a", 1)])
    np.testing.assert_array_equal(replaced.embedding, a.embedding)
    np.testing.assert_array_equal(replaced.history_embedding, a.history_embedding)
    assert (replaced.present, replaced.missing) == (a.present, a.missing)
    (told,) = [record for record in caplog.records if record.message == "cached_encodings_ignored"]
    assert (told.version, told.encodings) == ("v1", 1)


async def test_cached_encodings_belong_to_one_bundle(
    scene: Scene, fake_encoder: Any, tmp_path: Path, make_version: MakeVersion
) -> None:
    """Another bundle of the same version name, on the same journal and cache, does not believe them."""
    scene.put("a", text=TEXT)
    other = ModelStore(tmp_path / "other")
    make_version(other, "v1", seed=1)
    theirs = identity_of(other.load("v1"))
    (encoding,) = fake_encoder.encode([{"text": TEXT * 2}])
    await scene.cache.put_many(theirs, {("a", 1): encoding})

    await scene.follower.refresh()

    assert theirs.version == scene.handle.current.identity.version
    assert theirs != scene.handle.current.identity
    np.testing.assert_array_equal(scene.handle.current.vector("a"), np.full(5, 4, np.float32))


async def test_exchange_encodes_online_items_anew(scene: Scene, make_version: MakeVersion) -> None:
    """When CURRENT moves, online items live on with vectors of the new version."""
    scene.put("a", text=TEXT)
    await scene.follower.refresh()
    make_version(scene.store, "v2", seed=1)

    await scene.follower.refresh()

    found = scene.handle.current.get("a")
    assert found.report.model_version == "v2"
    assert scene.encoders[1].encoded == 1 + VERIFIED
    await scene.follower.refresh()
    assert len(scene.encoders) == 2


async def test_modalities_the_model_lacks_are_ignored(
    scene: Scene, make_version: MakeVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """What a new version does not know, or knows in another size, is left out with a warning."""
    scene.put("a", text=TEXT, image=np.ones(3, np.float32))
    scene.put("b", sound=TEXT)
    make_version(scene.store, "v2", modalities={"text": 4, "image": 7})

    with caplog.at_level(logging.WARNING):
        await scene.follower.refresh()

    assert scene.handle.current.get("a").report.present == ("text",)
    assert scene.handle.current.get("b").report.present == ()
    assert [record.item_id for record in caplog.records if record.msg == "modality_ignored"] == ["a", "b"]


async def test_one_item_that_cannot_be_encoded_keeps_none_from_serving(scene: Scene) -> None:
    """An item the encoder fails on is served with the prior; its neighbours are not touched."""
    scene.put("bad", text=TEXT * 666)
    scene.put("good", text=TEXT)

    await scene.follower.refresh()

    assert scene.handle.current.get("bad").report.present == ()
    assert scene.handle.current.get("good").report.present == ("text",)


async def test_records_written_while_building_are_not_lost(scene: Scene, make_version: MakeVersion) -> None:
    """What is journalled after the build began is in what serves in the end, deletes included."""
    scene.put("a", text=TEXT)
    await scene.follower.refresh()
    make_version(scene.store, "v2", seed=1)

    def early() -> None:
        scene.put("early", text=TEXT)
        scene.encoding = late

    def late() -> None:
        scene.put("late", text=TEXT)
        scene.encoding = last

    def last() -> None:
        scene.journal.append(DeleteItem("a"))
        scene.put("last", text=TEXT)
        scene.encoding = lambda: None  # the next encoding happens while writers are held back

    scene.opening = early

    await scene.follower.refresh()

    servable = scene.handle.current
    assert (servable.version, servable.index_seq, scene.journal.last_seq()) == ("v2", 5, 5)
    assert all(name in servable for name in ("early", "late", "last"))
    assert "a" not in servable


@pytest.mark.parametrize("damage", ["encoder", "bundle"])
async def test_failing_builds_change_nothing(
    scene: Scene, make_version: MakeVersion, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A version that cannot be built is logged and counted; the old one serves on, and a good one replaces it."""
    await scene.follower.refresh()
    make_version(scene.store, "v2", seed=1)
    if damage == "bundle":
        (scene.store.root / "versions" / "v2" / "item_embeddings.npy").write_bytes(b"")
    else:

        def fail() -> None:
            if scene.store.current() == "v2":
                raise RuntimeError("engine")

        scene.opening = fail

    await scene.follower.refresh()
    await scene.follower.refresh()

    assert scene.handle.current.version == "v1"
    assert scene.swaps("failed") == 1
    assert "model_load_failed" in caplog.text
    make_version(scene.store, "v3", seed=2)
    await scene.follower.refresh()
    assert scene.handle.current.version == "v3"


async def test_nothing_promoted_is_no_failure(tmp_path: Path, fake_encoder: Any, make_version: MakeVersion) -> None:
    """An empty store is waited for; what is promoted later serves."""
    scene = Scene(ModelStore(tmp_path / "empty"), type(fake_encoder))

    await scene.follower.refresh()
    assert scene.handle.peek is None
    assert scene.swaps("failed") == 0

    make_version(scene.store, "v1")
    await scene.follower.refresh()
    assert scene.handle.current.version == "v1"


async def test_a_store_that_is_not_there_is_said_once(
    tmp_path: Path, fake_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A name may be misspelt, or be that of a file, which cannot be read as a store. Neither is a model that failed."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for place, reason in (("stoer", "there is no such directory"), ("file", "cannot be read")):
        scene = Scene(ModelStore(tmp_path / place), type(fake_encoder))
        caplog.clear()

        for _ in range(3):
            await scene.follower.refresh()

        told = [record.reason for record in caplog.records if record.message == "model_store_without_model"]  # type: ignore[attr-defined]
        assert [reason in each for each in told] == [True]
        assert scene.swaps("failed") == 0
        assert not scene.metrics.registry.get_sample_value("i3rec_trial_failures_total")


async def test_trouble_that_comes_back_is_said_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once each time."""

    def fails() -> None:
        raise OSError("no such disk")

    for times in (1, 2):
        with monkeypatch.context() as trouble:
            trouble.setattr(scene.store, "current", fails)
            for _ in range(2):
                await scene.follower.refresh()
        await scene.follower.refresh()

        assert caplog.text.count("model_store_without_model") == times
        assert scene.handle.current.version == "v1"


async def test_watermark_of_another_journal_is_not_believed(
    scene: Scene, make_version: MakeVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """A model trained from a longer journal than this one says nothing about this one's records."""
    scene.put("i00", text=TEXT)
    make_version(scene.store, "v2", watermark=500)

    await scene.follower.refresh()

    assert scene.handle.current.get("i00").report.present == ("text",)
    assert scene.handle.current.watermark == 0
    assert "watermark_of_another_journal" in caplog.text


async def test_run_follows_until_cancelled(scene: Scene) -> None:
    """The background task notices a promotion by itself."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.follower.run, 0.01)
        with anyio.fail_after(5):
            while scene.handle.peek is None:  # noqa: ASYNC110 - a thread of its own loads
                await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()

    assert scene.handle.current.version == "v1"


async def test_going_back_needs_only_what_was_written_since(
    scene: Scene, make_version: MakeVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that served before is kept: nothing is opened, and of the items only the new one is encoded."""
    scene.put("old", text=TEXT)
    await scene.follower.refresh()
    make_version(scene.store, "v2", seed=1)
    await scene.follower.refresh()
    scene.put("new", text=TEXT)
    scene.journal.append(DeleteItem("old"))
    encoded = scene.encoders[0].encoded
    scene.store.promote("v1")
    monkeypatch.setattr(scene.store, "load", None)

    await scene.follower.refresh()

    servable = scene.handle.current
    assert (servable.version, servable.followed, servable.index_seq) == ("v1", 3, 3)
    assert ("new" in servable, "old" in servable) == (True, False)
    assert scene.encoders[0].encoded == encoded + 1


async def test_only_so_many_versions_are_kept(scene: Scene, make_version: MakeVersion) -> None:
    """Of three versions that served the first has to be opened again."""
    for version in ("v1", "v2", "v3", "v1"):
        if version == "v1":
            scene.store.promote("v1")
        else:
            make_version(scene.store, version, seed=1)
        await scene.follower.refresh()
    assert [encoder.version for encoder in scene.encoders] == ["v1", "v2", "v3", "v1"]


@pytest.mark.parametrize("damage", ["encoder", "index", "score"])
async def test_versions_that_fail_their_trial_do_not_serve(
    scene: Scene, make_version: MakeVersion, fake_encoder: Any, damage: str
) -> None:
    """An encoder that mixes up its batch, and an index that finds too little or the wrong scores, are noticed."""
    await scene.follower.refresh()
    make_version(scene.store, "v2", seed=1)

    class Mixed(type(fake_encoder)):  # type: ignore[misc]
        def encode(self, items: Any) -> Any:
            found = super().encode(items)
            return found if len(items) == 1 else [each._replace(embedding=each.embedding + 1) for each in found]

    class Poor(MemoryIndex):
        def search(self, query: Any, k: int, **filters: Any) -> list[Hit]:
            hits = super().search(query, k + 2, **filters)
            return hits[2:] if damage == "index" else [Hit(hit.item_id, hit.score + 1) for hit in hits]

    encoder = (Mixed if damage == "encoder" else type(fake_encoder))("v2")
    index = MemoryIndex if damage == "encoder" else Poor
    follower = scene.successor(Engines(lambda _: encoder, index))

    await follower.refresh()

    assert scene.handle.current.version == "v1"
    assert follower.failure is not None
    assert (follower.failure.version, "verification" in follower.failure.reason) == ("v2", True)
    assert scene.swaps("failed") == 1


@pytest.mark.parametrize(
    ("origin", "believed"), [("own", True), ("copied", True), ("copied too early", False), ("", False)]
)
async def test_watermark_counts_for_the_journal_it_was_read_from(
    scene: Scene, make_version: MakeVersion, origin: str, believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a restored copy of that, as far as it is one; of another one no number means anything here."""
    common = {"copied": 2, "copied too early": 1}
    monkeypatch.setattr(scene.journal, "common", lambda name: None if name == "own" else common.get(name, 0))
    scene.put("i01", text=TEXT)
    scene.put("i02", text=TEXT)
    make_version(scene.store, "v2", watermark=2, training={"journal_identity": origin})

    await scene.follower.refresh()

    assert scene.handle.current.stands_by_content("i01") is not believed
