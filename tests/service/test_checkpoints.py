"""Starts from checkpoints: they know the same as starts from the whole journal, whatever happened in between."""

import itertools
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from model_store import Bundle, ModelStore
from service.adapters.checkpoint_files import CheckpointFiles
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.app import Backends
from service.building import Builder, Engines
from service.checkpoints import Checkpoints, CheckpointWriter
from service.domain import DeleteItem, EraseUser, Interact, Item, PutItem, Record
from service.errors import StorageUnavailable
from service.facets import AttributeIs
from service.handle import Contender, ServableHandle
from service.ports import Journal
from service.replay import Replay
from service.servable import Servable
from service.settings import Settings

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 6, 1, tzinfo=UTC)
TEXT = np.ones(4, np.float32)
VERIFIED = 8  # items encoded to try a version before it serves


class Shop:
    """A journal, its checkpoints, and services that start on them, each with an encoder of its own."""

    def __init__(self, store: ModelStore, directory: Path, encoder_type: Any, journal: Journal | None = None) -> None:
        self.store = store
        self.journal = journal or MemoryJournal()
        self.encoder_type = encoder_type
        self.encoders: list[Any] = []
        self.checkpoints = Checkpoints(CheckpointFiles(directory), self.journal, store)

    async def start(self, *, version: str = "v1", from_checkpoint: bool = True) -> Servable:
        """A version as a new process would have it."""
        checkpoints = self.checkpoints if from_checkpoint else None
        engines = Engines(self._open_encoder, MemoryIndex)
        return await Builder(self.store, self.journal, Replay(MemoryCache(10_000)), engines, checkpoints).build(version)

    def _open_encoder(self, bundle: Bundle) -> Any:
        self.encoders.append(self.encoder_type(bundle.version, modalities=bundle.manifest.modality_names))
        return self.encoders[-1]

    @property
    def encoded(self) -> int:
        """How many items the service that started last has encoded, but for its trial."""
        return int(self.encoders[-1].encoded) - VERIFIED

    def journalled(self, servable: Servable, item: Item) -> tuple[Record, Any]:
        """A record of an item and its encoding, as the catalogue makes them; not applied yet."""
        standing = servable.standing(item)
        entry = PutItem(item, standing.since if standing else None)
        encoding = standing.encoding if standing else servable.encoder.encode([item.modalities])[0]
        return self.journal.append(entry).result(5), encoding

    def put(self, servable: Servable, item: Item) -> None:
        """Writes an item."""
        servable.apply(*self.journalled(servable, item))

    def delete(self, servable: Servable, item_id: str) -> None:
        """Deletes an item."""
        servable.apply(self.journal.append(DeleteItem(item_id)).result(5))

    def save(self, servable: Servable) -> bool:
        """Writes a checkpoint, after a look at what others wrote."""
        servable.followed = self.journal.last_seq()
        return self.checkpoints.save(servable)


@pytest.fixture
def shop(published_store: ModelStore, tmp_path: Path, fake_encoder: Any) -> Shop:
    """With an empty journal."""
    return Shop(published_store, tmp_path / "kept", type(fake_encoder))


def all_of(servable: Servable) -> dict[str, Any]:
    """Everything that can be seen of a Servable, before and after what expires has expired."""
    known = {
        item_id: (state._replace(encoding=None), state.encoding and state.encoding.embedding.tolist())
        for item_id, state in servable.known().items()
    }
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(3, 5)).astype(np.float32)
    before = [servable.index.search(query, 100) for query in queries]
    ids = sorted({*known, *servable.bundle.items})
    seen = {
        "known": known,
        "newcomers": list(servable.newcomers.split(0)[0]),
        "counts": (servable.online_items, len(servable.index), servable.index_seq),
        "own rows": servable.own_rows().tolist(),
        "categories": {name: servable.facets.matching([name], []) for name in "abxy"},
        "sizes": servable.facets.matching([], [AttributeIs("size", least=2)]),
        "brands": servable.facets.matching([], [AttributeIs("brand")]),
        "each": [(servable.get(i), servable.visible(i, NOW), servable.latest_seq(i), servable.title(i)) for i in ids],
        "told": [(servable.tells_of_users(i), str(servable.history_row(i)), str(servable.vector(i))) for i in ids],
        "untouched": list(servable.untouched("")),
    }
    servable.expire(NOW)
    return {**seen, "before": before, "after": [servable.index.search(query, 100) for query in queries]}


def random_item(rng: random.Random) -> Item:
    """A new or known item with other features, or another description of those it had."""
    item_id = rng.choice([*(f"n{n}" for n in range(8)), *(f"i{n:02}" for n in range(6))])
    texts = {"text": np.full(4, rng.randrange(3), np.float32)} if rng.random() < 0.7 else {}
    expiry = rng.choice([None, None, NOW - timedelta(days=1), NOW + timedelta(days=1)])
    item = Item(
        item_id,
        texts,
        title=rng.choice([None, "A", "B"]),
        categories=tuple(rng.sample("abxy", rng.randrange(3))),
        attributes={"size": rng.randrange(4)} if rng.random() < 0.5 else {},
        available=rng.random() < 0.9,
        hidden=rng.random() < 0.2,
        expires_at=expiry,
    )
    return item if rng.random() < 0.8 else item._replace(modalities={})


async def live_through(shop: Shop, rng: random.Random, steps: int) -> Servable:
    """A process that writes at random, finishes some writes late, and takes checkpoints now and then."""
    servable, unfinished = await shop.start(), []
    for _ in range(steps):
        what = rng.random()
        if what < 0.55:
            unfinished.append(shop.journalled(servable, random_item(rng)))
        elif what < 0.7:
            record = shop.journal.append(DeleteItem(rng.choice(["n1", "n2", "i01", "i02", "n3"]))).result(5)
            unfinished.append((record, None))
        elif what < 0.8:
            shop.journal.append(rng.choice([Interact("u", "n1"), EraseUser("u")])).result(5)
        elif what < 0.83:
            shop.journal.compact()
        elif what < 0.93:
            servable.followed = shop.journal.last_seq()  # as the follower does, whatever is unfinished
            shop.checkpoints.save(servable)
        while unfinished and rng.random() < 0.8:
            servable.apply(*unfinished.pop(rng.randrange(len(unfinished))))
    return servable


@pytest.mark.parametrize("seed", range(30))
async def test_a_checkpoint_and_what_came_after_are_the_whole_journal(
    shop: Shop, make_version: MakeVersion, seed: int
) -> None:
    """Over random courses of puts, deletions, late writes, compactions and kills, both kinds of start are alike."""
    rng = random.Random(seed)
    if seed % 2:  # a model that was trained on some of it
        for item_id in ("i00", "i01", "n1", "i02"):
            shop.journal.append(PutItem(Item(item_id, {"text": TEXT}, title="Trained"))).result(5)
        make_version(shop.store, "v2", watermark=3)
    version = "v2" if seed % 2 else "v1"

    for steps in (0, 15, 40, 40):
        await live_through(shop, rng, steps)  # and is killed
        whole = all_of(await shop.start(version=version, from_checkpoint=False))
        quick = all_of(await shop.start(version=version))
        assert quick == whole
        kept = await shop.start(version=version)
        shop.checkpoints.save(kept)
        assert all_of(await shop.start(version=version)) == whole


async def test_a_second_start_encodes_nothing(shop: Shop) -> None:
    """What is in the checkpoint is not encoded again; what came after it is, and nothing else."""
    first = await shop.start()
    for n in range(600):
        shop.put(first, Item(f"n{n}", {"text": TEXT * n}))
    shop.delete(first, "n0")
    assert shop.save(first)

    second = await shop.start()
    assert shop.encoded == 0
    assert all_of(second) == all_of(first)
    shop.put(second, Item("late", {"text": TEXT}))
    await shop.start()
    assert shop.encoded == 1


async def test_interactions_since_are_not_read(shop: Shop) -> None:
    """A start knows that all up to the journal's end is about users where no item was written."""
    first = await shop.start()
    shop.put(first, Item("a", {"text": TEXT}))
    for n in range(5):
        shop.journal.append(Interact("u", f"i0{n}")).result(5)
    shop.save(first)

    assert (await shop.start()).followed == 6
    assert (await shop.start(from_checkpoint=False)).followed == 6


async def test_nothing_is_written_where_nothing_has_changed(shop: Shop) -> None:
    """Not before the first item, nor a second time, nor for interactions, nor after a start from a checkpoint."""
    first = await shop.start()
    assert not shop.save(first)
    shop.put(first, Item("a"))
    assert shop.save(first)
    shop.journal.append(Interact("u", "a")).result(5)
    assert not shop.save(first)
    assert not shop.save(await shop.start())


async def test_records_that_were_never_applied_are_not_claimed(shop: Shop) -> None:
    """A write that was cut off after it was journalled is there after the next start, as without checkpoints."""
    first = await shop.start()
    shop.put(first, Item("a", title="Old"))
    shop.journalled(first, Item("lost"))
    shop.journalled(first, Item("a", title="New"))
    shop.put(first, Item("b"))

    assert shop.save(first)

    assert first.checkpointed == 1
    shop.put(first, Item("c"))
    assert not shop.save(first)
    second = await shop.start()
    assert ("lost" in second, second.title("a"), "b" in second, "c" in second) == (True, "New", True, True)


async def test_nothing_is_claimed_beyond_what_others_wrote(shop: Shop) -> None:
    """Where another process's record is not here yet, the next start reads it."""
    first = await shop.start()
    shop.put(first, Item("mine"))
    shop.journal.append(PutItem(Item("theirs"))).result(5)
    shop.put(first, Item("mine too"))
    first.followed = 1

    assert shop.checkpoints.save(first)

    assert first.checkpointed == 1
    assert "theirs" in await shop.start()


def ignored(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Why checkpoints were ignored."""
    return [record.reason for record in caplog.records if record.msg == "checkpoint_ignored"]  # type: ignore[attr-defined]


async def test_damaged_checkpoints_cost_only_time(shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The start reads the whole journal, one line says why, and the next checkpoint is sound again."""
    first = await shop.start()
    shop.put(first, Item("a", {"text": TEXT}))
    shop.save(first)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(path.read_bytes()[:-1])

    with caplog.at_level(logging.INFO, "service.checkpoints"):
        second = await shop.start()

    assert (all_of(second), shop.encoded, len(ignored(caplog))) == (all_of(first), 1, 1)
    assert shop.save(second)
    await shop.start()
    assert shop.encoded == 0


async def test_a_journal_that_is_shorter_than_the_checkpoint_is_believed(
    shop: Shop, published_store: ModelStore, tmp_path: Path, fake_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Records that are not in the journal are not in the catalogue."""
    first = await shop.start()
    for name in "abc":
        shop.put(first, Item(name))
    shop.save(first)
    torn = Shop(published_store, tmp_path / "kept", type(fake_encoder), forgetful(shop.journal, 2))

    found = await torn.start()

    assert ("b" in found, "c" in found, found.index_seq) == (True, False, 2)
    assert ["expected a journal up to record 3" in reason for reason in ignored(caplog)] == [True]


async def test_a_journal_that_was_put_back_and_has_grown_since_is_believed(
    shop: Shop, published_store: ModelStore, tmp_path: Path, fake_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that was copied by hand keeps its identity; the numbers that were given twice are noticed."""
    first = await shop.start()
    for name in "abc":
        shop.put(first, Item(name))
    shop.save(first)
    journal = forgetful(shop.journal, 2)
    for name in ("x", "b"):
        journal.append(PutItem(Item(name, {"text": TEXT}))).result(5)

    found = await Shop(published_store, tmp_path / "kept", type(fake_encoder), journal).start()

    assert ("c" in found, "x" in found, found.latest_seq("b")) == (False, True, 4)
    assert ["the journal has another" in reason for reason in ignored(caplog)] == [True]


def forgetful(journal: Journal, last: int) -> MemoryJournal:
    """A copy of a journal as it was at a record, under the same identity."""
    copy = MemoryJournal()
    copy._identity = journal.identity
    for record in itertools.takewhile(lambda record: record.seq <= last, journal.read()):
        copy.append(record.entry).result(5)
    return copy


async def test_checkpoints_of_another_bundle_of_the_same_name_are_ignored(
    shop: Shop, make_version: MakeVersion, tmp_path: Path, fake_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What decides is the manifest, with the checksums of all files."""
    first = await shop.start()
    shop.put(first, Item("a", {"text": TEXT}))
    shop.save(first)
    other = ModelStore(tmp_path / "other")
    make_version(other, "v1", seed=5)

    elsewhere = Shop(other, tmp_path / "kept", type(fake_encoder), shop.journal)
    await elsewhere.start()

    assert elsewhere.encoded == 1
    assert ["'manifest'" in reason for reason in ignored(caplog)] == [True]


async def test_each_version_that_is_live_has_its_checkpoint(
    shop: Shop, make_version: MakeVersion, tmp_path: Path
) -> None:
    """Also the one on trial; versions that are gone from the store lose theirs."""
    for version in ("v2", "v3"):
        make_version(shop.store, version, seed=1)
    handle = ServableHandle()
    writer = CheckpointWriter(shop.checkpoints, handle)
    shop.journal.append(PutItem(Item("a"))).result(5)
    v1, v2, v3 = [await shop.start(version=version) for version in ("v1", "v2", "v3")]

    handle.exchange(v1)
    await writer.save()
    shop.store.prune(keep=1)
    handle.exchange(v2)
    handle.challenge(Contender(v3, 0.5, "split"))
    await writer.save()

    assert [servable.checkpointed for servable in (v1, v2, v3)] == [1, 1, 1]
    identity = shop.journal.identity
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {f"{identity}.{v}.checkpoint" for v in ("v2", "v3")}


async def test_trouble_with_checkpoints_is_logged_and_stops_nothing(
    published_store: ModelStore, tmp_path: Path, fake_encoder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A directory that cannot be made, and whatever else a writer may meet."""
    (tmp_path / "kept").touch()
    shop = Shop(published_store, tmp_path / "kept", type(fake_encoder))
    servable, handle = await shop.start(), ServableHandle()
    shop.put(servable, Item("a"))
    servable.followed = 1
    handle.exchange(servable)

    await CheckpointWriter(shop.checkpoints, handle).save()

    messages = [record.msg for record in caplog.records]
    assert messages == ["checkpoint_ignored", "checkpoint_not_written"]
    assert servable.checkpointed == 0


async def test_whatever_a_checkpoint_holds_a_version_starts_without_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where reading it fails in a way nobody thought of."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(CheckpointFiles, "load", fail)
    shop.journal.append(PutItem(Item("a"))).result(5)

    servable = await shop.start()

    assert "a" in servable
    assert ignored(caplog) == ["MemoryError()"]


@pytest.mark.parametrize("trouble", [StorageUnavailable("away"), ValueError("unheard of")])
async def test_a_last_checkpoint_is_written_though_others_cannot_be_followed(shop: Shop, trouble: Exception) -> None:
    """What is known is kept all the same."""
    servable, handle = await shop.start(), ServableHandle()
    shop.put(servable, Item("a"))
    servable.followed = 1
    handle.exchange(servable)

    async def fail() -> None:
        raise trouble

    await CheckpointWriter(shop.checkpoints, handle).finish(fail)

    assert servable.checkpointed == 1


async def wait_until(condition: Callable[[], object]) -> None:
    """Looks again and again until something holds."""
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110 - nobody could set an event
            await anyio.sleep(0.01)


async def test_a_service_writes_when_it_stops_and_starts_from_that(
    settings: Settings, run_app: Any, fake_encoder: Any, tmp_path: Path
) -> None:
    """Beside its journal, by default; the next start encodes nothing and gives the same lists."""
    lists, encoded = [], []
    for _ in range(2):
        encoder = type(fake_encoder)()
        kept = CheckpointFiles(tmp_path / "kept")
        journal = SqlJournal(settings.journal_url)
        engines = Engines(lambda _, encoder=encoder: encoder, MemoryIndex)
        backends = Backends(journal, MemoryCache(10), engines, checkpoints=kept)
        async with run_app(settings, backends) as running:
            encoded.append(encoder.encoded)
            if not lists:
                for n in range(20):
                    body = {"item_id": f"n{n}", "modalities": {"text": [n, 1, 2, 3]}}
                    assert (await running.client.post("/items", json=body)).status_code == 201
                await running.client.delete("/items/n3")
            answer = await running.client.post("/recommend", json={"history": ["i01", "n2"], "k": 100})
            lists.append(answer.json()["items"])

    assert encoded == [VERIFIED, VERIFIED]
    assert lists[0] == lists[1]
    assert len(lists[1]) == 12 + 20 - 1 - 2


async def test_a_service_writes_meanwhile_and_after_an_exchange(
    published_store: ModelStore, make_version: MakeVersion, run_app: Any, tmp_path: Path
) -> None:
    """Where another directory is named it is written there: every so often, and at once for another version."""
    kept = tmp_path / "elsewhere"
    often = Settings(
        model_store=published_store.root,
        journal_url=f"sqlite:///{tmp_path}/journal.sqlite3",
        model_poll_s=0.02,
        follow_poll_s=0.02,
        checkpoints=kept,
        checkpoint_every_s=0.02,
    )
    async with run_app(often) as running:
        identity = running.services.catalog._journal.identity
        await running.client.post("/items", json={"item_id": "a"})
        await wait_until((kept / f"{identity}.v1.checkpoint").exists)
    async with run_app(often.model_copy(update={"checkpoint_every_s": 3600})) as running:
        make_version(published_store, "v2", seed=1)
        await wait_until((kept / f"{identity}.v2.checkpoint").exists)
    assert not (tmp_path / "journal.sqlite3.checkpoints").exists()


@pytest.mark.parametrize(("every_s", "there"), [(300, True), (0, False)])
async def test_checkpoints_are_beside_the_journal_unless_there_are_to_be_none(
    settings: Settings, run_app: Any, tmp_path: Path, every_s: float, there: bool
) -> None:
    """In a directory named after the journal's file; 0 seconds mean that none is ever written."""
    async with run_app(settings.model_copy(update={"checkpoint_every_s": every_s})) as running:
        await running.client.post("/items", json={"item_id": "a"})

    found = list((tmp_path / "journal.sqlite3.checkpoints").glob("*.v1.checkpoint"))
    assert bool(found) == there
