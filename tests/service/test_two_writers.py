"""Two processes write the same item: whatever the moment, nothing that was acknowledged is written over unseen."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from sqlalchemy.exc import OperationalError

from model_store import ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex
from service.adapters.sql_journal import SqlJournal
from service.bulk import Bulk
from service.catalog import Catalog, WriteLimits, Written
from service.conditions import Condition
from service.domain import Item, PutItem
from service.errors import ItemMoved, PreconditionFailed, StorageUnavailable
from service.following import JournalFollower
from service.handle import ServableHandle
from service.metrics import Metrics
from service.peers import Peers
from service.ports import Encoder
from service.replay import Replay
from service.servable import Servable

pytestmark = pytest.mark.anyio
ONES = np.ones(4, np.float32)


class Process:
    """What writes and follows in one process."""

    def __init__(self, store: ModelStore, encoder: Encoder, url: str) -> None:
        bundle, cache, metrics, handle = store.load(), MemoryCache(100), Metrics(), ServableHandle()
        self.journal = SqlJournal(url)
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        handle.exchange(self.servable)
        self.follower = JournalFollower(handle, self.journal, Replay(cache), metrics)
        peers = Peers(self.follower.catch_up, self.follower.spread)
        limits = WriteLimits(CapacityLimiter(2), CapacityLimiter(2))
        self.catalog = Catalog(handle, self.journal, cache, metrics, limits, peers)
        self.bulk = Bulk(handle, self.journal, cache, metrics, limits, peers)

    def latest(self, item_id: str) -> tuple[Item, int | None]:
        """What the journal says of an item, and since when its features are what they are."""
        record = self.journal.find(item_id)
        assert record
        assert isinstance(record.entry, PutItem)
        return record.entry.item, record.entry.since


@pytest.fixture
def two(published_store: ModelStore, fake_encoder: Any, tmp_path: Path) -> Iterator[tuple[Process, Process]]:
    """On one journal."""
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    processes = Process(published_store, fake_encoder, url), Process(published_store, type(fake_encoder)(), url)
    yield processes
    for process in processes:
        process.journal.close()


def once(act: Callable[[], Awaitable[object]]) -> Callable[[], None]:
    """Has the event loop do something when it is called on a thread for the first time; waits for it."""
    loop, to_do = asyncio.get_running_loop(), [act]

    async def do(what: Callable[[], Awaitable[object]]) -> None:
        await what()

    def call() -> None:
        if to_do:
            asyncio.run_coroutine_threadsafe(do(to_do.pop()), loop).result(30)

    return call


def after_reading(process: Process, call: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has something happen between a patch's reading and its writing."""
    find = process.journal.find

    def slow(item_id: str) -> Any:
        found = find(item_id)
        call()
        return found

    monkeypatch.setattr(process.journal, "find", slow)


@pytest.mark.parametrize("conditional", [False, True])
async def test_patch_sees_what_came_between(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch, *, conditional: bool
) -> None:
    """Another process patches the item just after this one has read it, and this one hears of that before it writes."""
    one, other = two
    written = await one.catalog.put(Item("x", {"text": ONES}, title="old"))
    await other.follower.catch_up()

    async def between() -> None:
        await other.catalog.patch("x", lambda item: item._replace(categories=("b",)))
        await one.follower.catch_up()

    after_reading(one, once(between), monkeypatch)
    condition = Condition(among=frozenset([str(written.seq)])) if conditional else Condition()
    patch = one.catalog.patch("x", lambda item: item._replace(title="new"), condition)

    if conditional:
        with pytest.raises(PreconditionFailed):
            await patch
    else:
        await patch
    item, _ = one.latest("x")
    assert (item.title, item.categories) == ("old" if conditional else "new", ("b",))


async def test_a_record_that_could_not_be_applied_is_not_waited_for(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on disk and not in the index, and nobody brings it: patches and conditional deletions are told at once."""
    one, _ = two
    written = await one.catalog.put(Item("x", {"text": ONES}))

    def fail(*_: object) -> bool:
        raise MemoryError

    with monkeypatch.context() as trouble:
        trouble.setattr(one.servable, "apply", fail)
        with pytest.raises(MemoryError):
            await one.catalog.put(Item("x", {"text": 2 * ONES}))
    with pytest.raises(ItemMoved):
        await one.catalog.patch("x", lambda item: item._replace(title="new"))
    with pytest.raises(ItemMoved):
        await one.catalog.delete("x", Condition(among=frozenset([str(written.seq)])))
    await one.catalog.put(Item("x", {"text": 3 * ONES}))

    assert (await one.catalog.patch("x", lambda item: item._replace(title="new"))).seq == 4


async def test_features_are_not_said_to_be_trained_ones_that_came_between(two: tuple[Process, Process]) -> None:
    """An item is written as it was trained, while another process writes it otherwise: its features are new then."""
    one, other = two
    bundle = one.servable.bundle
    trained = {name: np.array(table[bundle.items.row("i01")]) for name, table in bundle.features.items()}
    trained = {name: row for name, row in trained.items() if not np.isnan(row).any()}

    async def between() -> None:
        await other.catalog.put(Item("i01", {"text": ONES * 9}))
        await one.follower.catch_up()

    one.servable.encoder.before = once(between)  # type: ignore[attr-defined]
    outcomes = await one.bulk.put_many([Item("i01", trained), Item("new", {"text": ONES})])

    assert all(isinstance(outcome, Written) for outcome in outcomes)
    item, since = one.latest("i01")
    assert item.modalities.keys() == trained.keys()
    assert since is None


async def test_later_one_of_a_batch_holds(two: tuple[Process, Process]) -> None:
    """Also where the first is as it stands, and another process has written the item meanwhile."""
    one, other = two
    await one.catalog.put(Item("x", {"text": ONES}, title="zero"))
    await other.follower.catch_up()
    await other.catalog.put(Item("x", {"text": ONES}, title="other's"))

    outcomes = await one.bulk.put_many(
        [Item("x", {"text": ONES}, title="first"), Item("y"), Item("x", {"text": ONES * 2}, title="later")]
    )

    seqs = [outcome.seq for outcome in outcomes if isinstance(outcome, Written)]
    assert len(seqs) == 3
    assert seqs[0] < seqs[2]
    assert one.latest("x")[0].title == one.servable.title("x") == "later"


@contextmanager
def lost_answers(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch, *, deaf: bool) -> Iterator[None]:
    """The database commits, and the connection breaks before it can say so; where it is deaf, nothing can be asked."""
    writing = journal._dialect.writing

    @contextmanager
    def broken() -> Iterator[Any]:
        with writing() as connection:
            yield connection
        raise OperationalError("COMMIT", None, Exception("the server closed the connection"))

    def away(_: object) -> Any:
        raise StorageUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(journal._dialect, "writing", broken)
        if deaf:
            patched.setattr(journal, "_fetch", away)
        yield


async def test_commits_whose_answer_is_lost_are_looked_for(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk is acknowledged and served."""
    one, other = two
    with lost_answers(one.journal, monkeypatch, deaf=False):
        await one.catalog.put(Item("x", {"text": ONES}, title="new"))
    await other.follower.catch_up()

    assert one.servable.title("x") == other.servable.title("x") == one.latest("x")[0].title == "new"


async def test_records_that_nobody_could_look_for_are_read_as_anothers(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write is refused, as it may not be on disk; where it is, it comes to be served, and can be replaced."""
    one, _ = two
    await one.catalog.put(Item("x", {"text": ONES}, title="old"))
    with lost_answers(one.journal, monkeypatch, deaf=True), pytest.raises(StorageUnavailable):
        await one.catalog.put(Item("x", {"text": ONES * 2}, title="new"))

    assert one.servable.title("x") == "old"
    await one.follower.catch_up()
    assert one.servable.title("x") == one.latest("x")[0].title == "new"
    await one.catalog.patch("x", lambda item: item._replace(title="newer"))
    assert one.servable.title("x") == one.latest("x")[0].title == "newer"


async def test_writes_that_failed_are_not_taken_for_written(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that was rolled back at its end is refused, and the next one is numbered like it."""
    one, _ = two
    dialect = one.journal._dialect
    writing = dialect.writing

    @contextmanager
    def failing() -> Iterator[Any]:
        with writing() as connection:
            yield connection
            raise OperationalError("COMMIT", None, Exception("disk I/O error"))

    with monkeypatch.context() as patched:
        patched.setattr(dialect, "writing", failing)
        with pytest.raises(StorageUnavailable):
            await one.catalog.put(Item("x", {"text": ONES}))
    assert one.journal.find("x") is None
    assert (await one.catalog.put(Item("y", {"text": ONES}))).seq == 1
