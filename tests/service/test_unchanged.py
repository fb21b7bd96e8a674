"""Features that stay what they are keep what was learned of them: live, after replays, and in the next versions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import BundleContents, IdMap, ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.building import Builder, Engines
from service.bulk import Bulk
from service.catalog import Catalog, WriteLimits, Written
from service.domain import Item, PutItem, Vector
from service.handle import ServableHandle
from service.loading import Loading
from service.metrics import Metrics
from service.replay import Replay
from service.servable import Servable
from service.sync import ModelFollower

pytestmark = pytest.mark.anyio

Features = Mapping[str, Vector]
ONES: Features = {"text": np.ones(4, np.float32)}
TWOS: Features = {"text": np.full(4, 2, np.float32)}


class Scene:
    """Both ways to write, on whatever version is promoted, with in-memory adapters and the encoder of the tests."""

    def __init__(self, store: ModelStore, encoder_type: type) -> None:
        self.store, self.encoder_type = store, encoder_type
        self.journal, self.cache, self.handle = MemoryJournal(), MemoryCache(1000), ServableHandle()
        self.encoders: list[Any] = []
        self.follower = self.follower_of(self.handle, self.cache)
        limits = WriteLimits(CapacityLimiter(2), CapacityLimiter(2))
        self.catalog = Catalog(self.handle, self.journal, self.cache, Metrics(), limits)
        self.bulk = Bulk(self.handle, self.journal, self.cache, Metrics(), limits)

    def follower_of(self, handle: ServableHandle, cache: MemoryCache) -> ModelFollower:
        """What loads versions into a handle."""

        def open_encoder(bundle: Any) -> Any:
            self.encoders.append(self.encoder_type(bundle.version))
            return self.encoders[-1]

        builder = Builder(self.store, self.journal, Replay(cache), Engines(open_encoder, MemoryIndex))
        return ModelFollower(Loading(builder, handle), handle, cache, Metrics())

    @property
    def servable(self) -> Servable:
        """What serves."""
        return self.handle.current

    @property
    def encoded(self) -> int:
        """How many items were encoded since the version serves."""
        return int(self.servable.encoder.encoded)  # type: ignore[attr-defined]

    async def refresh(self) -> None:
        """Lets the promoted version serve; what was encoded on the way there does not count."""
        await self.follower.refresh()
        self.servable.encoder.encoded = 0  # type: ignore[attr-defined]

    async def restarted(self) -> Servable:
        """What another process would serve after reading bundle and journal anew."""
        handle = ServableHandle()
        await self.follower_of(handle, MemoryCache(1000)).refresh()
        return handle.current

    async def move_to(self, version: str, *, watermark: int = 0, without: str | None = None) -> None:
        """Publishes the same catalogue as another version, with other vectors and perhaps without an item."""
        bundle = self.servable.bundle
        facts = {each.name: getattr(bundle, each.name) for each in fields(BundleContents)}
        if without is not None:
            facts["items"] = IdMap("gone" if item_id == without else item_id for item_id in bundle.items)
        facts["item_embeddings"] = np.array(bundle.item_embeddings) + np.float32(100)
        manifest = replace(bundle.manifest, model_version=version, journal_watermark=watermark)
        self.store.publish(BundleContents(**facts), bundle.encoder_path.read_bytes(), manifest)
        self.store.promote(version)
        await self.refresh()
        assert self.servable.version == version

    def trained(self, item_id: str) -> Features:
        """The features an item was trained with."""
        bundle = self.servable.bundle
        rows = {name: table[bundle.items.row(item_id)] for name, table in bundle.features.items()}
        return {name: np.array(row) for name, row in rows.items() if not np.isnan(row).any()}

    def row(self, item_id: str) -> Vector:
        """The vector an item was trained to."""
        bundle = self.servable.bundle
        return np.array(bundle.item_embeddings[bundle.items.row(item_id)])

    async def write(self, way: str, item_id: str, features: Features, **facts: Any) -> Written:
        """Puts an item by one of the ways there are."""
        if way == "put":
            return await self.catalog.put(Item(item_id, features, **facts))
        if way == "batch":
            (outcome,) = await self.bulk.put_many([Item(item_id, features, **facts)])
            assert isinstance(outcome, Written)
            return outcome
        return await self.catalog.patch(item_id, lambda item: item._replace(modalities=features, **facts))


@pytest.fixture
async def scene(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene on the published version."""
    made = Scene(published_store, type(fake_encoder))
    await made.refresh()
    return made


def found(servable: Servable, item_id: str) -> list[float] | None:
    """What the index holds of an item; white box."""
    vector = servable.index._vectors.get(item_id)  # type: ignore[attr-defined]
    return None if vector is None else vector.tolist()


ways = pytest.mark.parametrize("way", ["put", "batch", "patch"])


@ways
async def test_trained_item_keeps_its_trained_vector(scene: Scene, way: str) -> None:
    """Written with the features it was trained with, nothing is encoded; only the description is new, for good."""
    written = await scene.write(way, "i01", scene.trained("i01"), title="Mine", attributes={"price": 3})

    assert (written.created, written.report.confidence, written.report.present) == (False, None, ("text",))
    assert scene.encoded == 0
    for servable in (scene.servable, await scene.restarted()):
        assert found(servable, "i01") == scene.row("i01").tolist()
        assert not servable.stands_by_content("i01")
        assert (servable.title("i01"), servable.get("i01").item.attributes) == ("Mine", {"price": 3})
        assert servable.get("i01").report.confidence is None
    entry = scene.journal.find("i01").entry
    assert isinstance(entry, PutItem)
    assert entry.since == 0
    assert entry.item.modalities["text"].tobytes() == scene.trained("i01")["text"].tobytes()


@ways
async def test_online_item_keeps_its_encoding(scene: Scene, way: str) -> None:
    """Written again with the features it has, an item is not encoded again; its features count from the first time."""
    await scene.write("put", "new", ONES)
    before = found(scene.servable, "new")

    written = await scene.write(way, "new", {"text": np.ones(4, np.float32)}, title="Again")

    assert (written.created, written.seq, written.report.present) == (False, 2, ("text",))
    assert written.report.confidence == pytest.approx(2 / 3)
    assert scene.encoded == 1
    assert found(scene.servable, "new") == before
    assert [record.entry.since for record in scene.journal.read()] == [None, 1]
    assert (await scene.cache.get_many(scene.handle.current.identity, [("new", 2)]))[0] is not None
    assert found(await scene.restarted(), "new") == before


OTHERS: dict[str, Callable[[Features], Features]] = {
    "other numbers": lambda own: {**own, "text": own["text"] * 2},
    "one bit": lambda own: {**own, "text": np.nextafter(own["text"], np.float32(9))},
    "one modality more": lambda own: {**own, "image": np.ones(3, np.float32)},
    "one modality less": lambda own: {name: vector for name, vector in own.items() if name != "text"},
}


@ways
@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("item_id", ["i01", "new"])
async def test_other_features_are_encoded(
    scene: Scene, way: str, change: Callable[[Features], Features], item_id: str
) -> None:
    """However little they differ; they count from now on, also after what is gone is put back."""
    own = scene.trained("i01")
    if item_id == "new":
        await scene.write("put", "new", own)

    written = await scene.write(way, item_id, change(own))

    assert scene.journal.find(item_id).entry.since is None
    assert scene.servable.stands_by_content(item_id)
    assert written.report.confidence is not None
    encoded = scene.encoded
    again = await scene.write(way, item_id, own)
    assert (scene.encoded, again.seq) == (encoded + 1, written.seq + 1)
    assert scene.journal.find(item_id).entry.since is None
    assert found(await scene.restarted(), item_id) == found(scene.servable, item_id)


@ways
async def test_item_without_features_stays_without(scene: Scene, way: str) -> None:
    """To have no features is a state like another: it is not encoded twice, and a trained item loses what it had."""
    await scene.write("put", "new", {})
    await scene.write("put", "i01", {})
    encoded = scene.encoded

    for item_id in ("new", "i01"):
        await scene.write(way, item_id, {}, title="Bare")

    assert scene.encoded == encoded == 2
    assert found(scene.servable, "i01") == found(scene.servable, "new") == [0] * 5
    assert found(await scene.restarted(), "i01") == [0] * 5


async def test_facts_alone_leave_every_vector_as_it_is(scene: Scene) -> None:
    """A patch without features encodes nothing, whether the item was trained, written online, or is hidden."""
    await scene.write("put", "new", ONES)
    before = {item_id: found(scene.servable, item_id) for item_id in ("i01", "new")}

    for hidden in (True, False):
        for item_id in before:
            await scene.catalog.patch(item_id, lambda item: item._replace(hidden=hidden, categories=("z",)))  # noqa: B023
            assert (found(scene.servable, item_id) is None) == hidden

    assert scene.encoded == 1
    assert {item_id: found(scene.servable, item_id) for item_id in before} == before
    restarted = await scene.restarted()
    assert {item_id: found(restarted, item_id) for item_id in before} == before


@pytest.mark.parametrize("way", ["put", "batch"])
@pytest.mark.parametrize("item_id", ["i01", "new"])
async def test_what_was_deleted_is_learned_anew(scene: Scene, way: str, item_id: str) -> None:
    """Deletion forgets: the same features, put again, count from then on."""
    own = scene.trained("i01")
    await scene.write(way, item_id, own)
    await scene.catalog.delete(item_id)

    written = await scene.write(way, item_id, own)

    assert written.created
    assert scene.servable.stands_by_content(item_id)
    assert scene.journal.find(item_id).entry.since is None
    assert found(await scene.restarted(), item_id) == found(scene.servable, item_id) == [own["text"].sum()] * 5


@ways
@pytest.mark.parametrize(("watermark", "trained"), [(0, False), (1, True), (2, True)])
async def test_next_version_keeps_what_it_was_trained_on(
    scene: Scene, way: str, watermark: int, *, trained: bool
) -> None:
    """A version trained on the features of record 1 keeps its vector though record 2 told of them again."""
    await scene.write("put", "i01", ONES)
    await scene.write(way, "i01", ONES, title="Again")

    await scene.move_to("v2", watermark=watermark)

    expected = scene.row("i01").tolist() if trained else [4.0] * 5
    assert found(scene.servable, "i01") == expected
    await scene.write(way, "i01", ONES, title="Once more")
    assert found(scene.servable, "i01") == found(await scene.restarted(), "i01") == expected
    assert scene.journal.find("i01").entry.since == 1
    assert scene.servable.title("i01") == "Once more"


@ways
async def test_trained_features_hold_in_every_later_version(scene: Scene, way: str) -> None:
    """An item that was only described anew has the trained vector of each version, whatever its watermark."""
    await scene.write(way, "i01", scene.trained("i01"), title="Mine")

    await scene.move_to("v2")

    assert found(scene.servable, "i01") == scene.row("i01").tolist()
    assert scene.servable.title("i01") == "Mine"
    assert scene.encoded == 0


@ways
async def test_item_the_next_version_lacks_is_encoded_from_its_record(scene: Scene, way: str) -> None:
    """Though its record says that its features are trained ones; and the version after that may know it again."""
    own, trained = scene.trained("i01"), scene.row("i01").tolist()
    await scene.write(way, "i01", own, title="Mine")

    await scene.move_to("v2", without="i01")

    assert found(scene.servable, "i01") == [own["text"].sum()] * 5
    assert list(scene.servable.newcomers.split(0)[0]) == ["i01"]
    await scene.write(way, "i01", own, title="Still mine")
    assert scene.encoded == 0
    assert found(scene.servable, "i01") == found(await scene.restarted(), "i01") == [own["text"].sum()] * 5
    scene.store.promote("v1")
    await scene.refresh()
    assert found(scene.servable, "i01") == trained
    assert scene.servable.title("i01") == "Still mine"


async def test_version_that_takes_over_meanwhile_decides(scene: Scene) -> None:
    """Where the version moves while others of a batch are encoded, what stands is what the new one holds."""
    own = scene.trained("i01")
    bundle = scene.servable.bundle
    other = replace(bundle, items=IdMap("gone" if i == "i01" else i for i in bundle.items))
    other = replace(other, manifest=replace(other.manifest, model_version="v2"))
    successor = Servable(other, scene.encoder_type("v2"), MemoryIndex(list(other.items), other.item_embeddings))
    scene.encoders[0].before = lambda: scene.handle.exchange(successor)

    outcomes = await scene.bulk.put_many([Item("i01", own), Item("new", ONES)])

    assert [outcome.report.model_version for outcome in outcomes] == ["v2", "v2"]
    assert found(successor, "i01") == [own["text"].sum()] * 5


async def test_of_items_that_come_twice_in_a_batch_the_later_one_holds(scene: Scene) -> None:
    """Only the first of them is compared with what stood before; each is told what became of it."""
    own = scene.trained("i01")

    outcomes = await scene.bulk.put_many([Item("i01", own), Item("i01", ONES), Item("new", ONES), Item("new", ONES)])

    assert [outcome.report.confidence is None for outcome in outcomes] == [True, False, False, False]
    assert [record.entry.since for record in scene.journal.read()] == [0, None, None, None]
    for servable in (scene.servable, await scene.restarted()):
        assert found(servable, "i01") == found(servable, "new") == [4.0] * 5


async def test_refused_items_of_a_batch_do_not_shift_the_others(scene: Scene) -> None:
    """Among items that stand, are new, or are refused, each is given its own vector."""
    items = [
        Item("i01", scene.trained("i01")),
        Item("bad", {"sound": np.ones(4, np.float32)}),
        Item("a", ONES),
        Item("i02", scene.trained("i02")),
        Item("b", TWOS),
    ]

    outcomes = await scene.bulk.put_many(items)

    assert [isinstance(outcome, Written) for outcome in outcomes] == [True, False, True, True, True]
    assert scene.encoded == 2
    assert found(scene.servable, "a") == [4.0] * 5
    assert found(scene.servable, "b") == [8.0] * 5
    for item_id in ("i01", "i02"):
        assert found(scene.servable, item_id) == scene.row(item_id).tolist()


async def test_batch_is_written_though_another_process_wrote_meanwhile(scene: Scene) -> None:
    """What was compared with a state that is past is no reason to refuse an item that expects nothing."""
    await scene.write("put", "new", ONES)
    scene.journal.append(PutItem(Item("new", TWOS)))

    (outcome,) = await scene.bulk.put_many([Item("new", ONES)])

    assert isinstance(outcome, Written)


async def test_entries_of_old_have_their_features_since_themselves(scene: Scene) -> None:
    """A journal written before ``since`` was: each put counts from its own record, whatever it says."""
    own = scene.trained("i01")
    for title in ("First", "Second"):
        scene.journal.append(PutItem(Item("i01", own, title=title)))

    before, after = await scene.restarted(), scene
    await after.move_to("v2", watermark=1)
    older = found(after.servable, "i01")
    await after.move_to("v3", watermark=2)

    assert found(before, "i01") == older == [own["text"].sum()] * 5
    assert found(after.servable, "i01") == after.row("i01").tolist()


@dataclass
class Expected:
    """What must hold of one item; ``since`` as in ``PutItem``, ``features`` None once it is deleted."""

    features: Features | None
    since: int


class Ledger:
    """What stands of every item by the rule alone: features that stay what they are keep their place in time."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.items: dict[str, Expected] = {}

    def put(self, item_id: str, features: Features, seq: int, *, first: bool = True) -> bool:
        """Notes a put; returns whether its features stood already."""
        servable = self._scene.servable
        before = self.items.get(item_id)
        if before is None and item_id in servable.bundle.items:
            before = Expected(self._scene.trained(item_id), 0)
        trained = self._scene.trained(item_id) if self._stands_as_trained(item_id, before) else None
        stands = first and before is not None and (same(before.features, features) or same(trained, features))
        self.items[item_id] = Expected(features, before.since if stands and before else seq)
        return stands

    def _stands_as_trained(self, item_id: str, before: Expected | None) -> bool:
        servable = self._scene.servable
        if before is None or before.features is None:
            return False
        return item_id in servable.bundle.items and before.since <= servable.watermark

    def vector(self, item_id: str) -> list[float] | None:
        """What the index must hold."""
        servable = self._scene.servable
        expected = self.items.get(item_id)
        if expected is None:
            return self._scene.row(item_id).tolist() if item_id in servable.bundle.items else None
        if expected.features is None:
            return None
        if self._stands_as_trained(item_id, expected):
            return self._scene.row(item_id).tolist()
        return [float(sum(vector.sum() for vector in expected.features.values()))] * 5


def same(one: Features | None, other: Features) -> bool:
    """Whether features are the same, by an independent comparison."""
    return one is not None and {n: v.tolist() for n, v in one.items()} == {n: v.tolist() for n, v in other.items()}


NAMES = ["i00", "i01", "i02", "new", "other"]
a_name = st.sampled_from(NAMES)
some_features = st.sampled_from(["trained", "ones", "twos", "none"])
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "patch"]), a_name, some_features),
        st.tuples(st.just("batch"), st.lists(st.tuples(a_name, some_features), min_size=1, max_size=4)),
        st.tuples(st.just("delete"), a_name),
        st.tuples(st.just("swap"), st.floats(0, 1), st.sampled_from([None, None, "i01"])),
    ),
    max_size=14,
)


class Course:
    """Events, each carried out and noted."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.ledger = scene, Ledger(scene)
        self._versions = 1
        self._features = {"ones": ONES, "twos": TWOS, "none": {}}
        self._trained = {name: dict(scene.trained(name)) for name in NAMES[:3]}

    async def take(self, kind: str, *facts: Any) -> None:
        """Carries out a step; looks at what was encoded in it, and at what stands then."""
        await getattr(self, f"_{kind}")(*facts)
        self.check(self.scene.servable)

    def check(self, servable: Servable) -> None:
        """The index holds what it must, and nothing else."""
        held = {item_id: found(servable, item_id) for item_id in servable.index._vectors}  # type: ignore[attr-defined]
        expected = {item_id: self.ledger.vector(item_id) for item_id in {*NAMES, *servable.bundle.items}}
        assert held == {item_id: vector for item_id, vector in expected.items() if vector is not None}

    def _chosen(self, item_id: str, choice: str) -> Features:
        return self._trained.get(item_id, ONES) if choice == "trained" else self._features[choice]

    async def _put(self, item_id: str, choice: str, way: str = "put") -> None:
        features, encoded = self._chosen(item_id, choice), self.scene.encoded
        written = await self.scene.write(way, item_id, features)
        stood = self.ledger.put(item_id, features, written.seq)
        assert self.scene.encoded == encoded + (not stood)

    async def _patch(self, item_id: str, choice: str) -> None:
        if item_id in self.scene.servable:
            await self._put(item_id, choice, "patch")

    async def _batch(self, pairs: list[tuple[str, str]]) -> None:
        items = [Item(item_id, self._chosen(item_id, choice)) for item_id, choice in pairs]
        encoded, came = self.scene.encoded, set[str]()
        for item, outcome in zip(items, await self.scene.bulk.put_many(items), strict=True):
            assert isinstance(outcome, Written)
            stood = self.ledger.put(item.item_id, item.modalities, outcome.seq, first=item.item_id not in came)
            encoded += not stood
            came.add(item.item_id)
        assert self.scene.encoded == encoded

    async def _delete(self, item_id: str) -> None:
        if item_id in self.scene.servable:
            self.ledger.items[item_id] = Expected(None, await self.scene.catalog.delete(item_id))

    async def _swap(self, share: float, without: str | None) -> None:
        self._versions += 1
        watermark = int(share * self.scene.journal.last_seq())
        known = without if without in self.scene.servable.bundle.items else None
        await self.scene.move_to(f"v{self._versions}", watermark=watermark, without=known)


@given(taken=steps)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_was_applied_live_is_what_a_replay_gives(
    make_version: Callable[..., None], tmp_path_factory: pytest.TempPathFactory, fake_encoder: Any, taken: list[Any]
) -> None:
    """After any course of events the index holds what the rule says, in this process and in one that starts now."""
    store = ModelStore(tmp_path_factory.mktemp("models"))
    make_version(store, "v1")
    scene = Scene(store, type(fake_encoder))
    await scene.refresh()
    course = Course(scene)

    for step in taken:
        await course.take(*step)

    replayed = await scene.restarted()
    course.check(replayed)
    assert list(replayed.newcomers.split(0)[0]) == list(scene.servable.newcomers.split(0)[0])
    assert standing_of(replayed) == standing_of(scene.servable)


def standing_of(servable: Servable) -> dict[str, Any]:
    """What is kept of every item that was written; white box."""
    return {
        item_id: (state.seq, state.item, state.since, state.digest, state.encoding is None)
        for item_id, state in servable._online.items()
    }
