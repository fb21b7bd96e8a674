"""A follower of the journal keeps the histories true, whatever befalls their loading."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from model_store import ModelStore
from service.adapters.memory import MemoryCache
from service.adapters.sql_journal import SqlJournal
from service.domain import EraseUser, Interact
from service.errors import EncodingFailed, NotReachedYet, StorageUnavailable
from service.following import JournalFollower
from service.handle import Contender, ServableHandle
from service.histories import Histories
from service.metrics import Metrics
from service.replay import Replay
from service.settings import Settings

pytestmark = pytest.mark.anyio
WAIT_S = 30


class Shaky(SqlJournal):
    """A journal of which the users cannot be read as often as wanted, or only when a gate opens."""

    trouble: list[Exception]
    gate: threading.Event

    def users(self) -> Iterator[str]:
        """As ever, after trouble."""
        self.gate.wait(WAIT_S)
        if self.trouble:
            raise self.trouble.pop()
        return super().users()


@pytest.fixture
def journals(tmp_path: Path) -> Iterator[tuple[Shaky, SqlJournal]]:
    """Two objects on one journal; the first is shaky."""
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    shaky, other = Shaky(url), SqlJournal(url)
    shaky.trouble, shaky.gate = [], threading.Event()
    shaky.gate.set()
    yield shaky, other
    shaky.gate.set()
    for journal in (shaky, other):
        journal.close()


def follower_of(journal: SqlJournal, histories: Histories) -> JournalFollower:
    """A follower where nothing serves yet."""
    metrics = Metrics()
    return JournalFollower(ServableHandle(), journal, Replay(MemoryCache(10), metrics), metrics, histories)


async def until(condition: Any) -> None:
    """Waits for a condition."""
    with anyio.fail_after(WAIT_S):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


def write(journal: SqlJournal, *entries: Interact | EraseUser) -> int:
    """The number of the last of some entries."""
    return max(journal.append(entry).result(WAIT_S).seq for entry in entries)


@pytest.mark.parametrize("trouble", [StorageUnavailable("down"), ValueError("unheard of")])
async def test_failed_loading_is_tried_again(journals: tuple[Shaky, SqlJournal], trouble: Exception) -> None:
    """Whatever the trouble is; until it goes well, the journal is asked about everybody."""
    shaky, other = journals
    write(other, Interact("ann", "a"))
    shaky.trouble = [trouble, trouble]
    histories = Histories(shaky)
    before = histories.known("nobody")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower_of(shaky, histories).run, 0.01)
        await until(lambda: histories.known("nobody") == ())
        tasks.cancel_scope.cancel()

    assert (before, shaky.trouble, histories.known("ann"), histories.of("ann")) == (None, [], None, ("a",))


async def test_others_are_followed_while_histories_load(journals: tuple[Shaky, SqlJournal]) -> None:
    """What others write counts, and trouble with the journal is told, before it is known who is in it."""
    shaky, other = journals
    shaky.gate.clear()
    histories = Histories(shaky)
    follower = follower_of(shaky, histories)
    histories.of("ann")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follower.run, 0.01)
        write(other, Interact("ann", "a"))
        await until(lambda: histories.known("ann") is None)
        found = histories.of("ann")
        shaky.gate.set()
        await until(lambda: histories.known("nobody") == ())
        tasks.cancel_scope.cancel()

    assert (found, histories.known("ann")) == (("a",), ("a",))


async def test_what_others_write_is_noted_after_trouble(
    journals: tuple[Shaky, SqlJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that fails takes nothing as noted: the next one has it."""
    shaky, other = journals
    histories = Histories(shaky)
    follower = follower_of(shaky, histories)
    histories.load()
    write(other, Interact("ann", "a"))

    def fail(_: int) -> set[str]:
        raise StorageUnavailable("down")

    with monkeypatch.context() as down:
        down.setattr(shaky, "users_of_others", fail)
        with pytest.raises(StorageUnavailable):
            await follower.catch_up()
    before = histories.known("ann")
    await follower.catch_up()

    assert (before, histories.known("ann"), histories.of("ann")) == ((), None, ("a",))


async def test_erasures_of_others_are_noted(journals: tuple[Shaky, SqlJournal]) -> None:
    """Whose history was at hand has none any more."""
    shaky, other = journals
    histories = Histories(shaky)
    follower = follower_of(shaky, histories)
    histories.note([shaky.append(Interact("ann", "a")).result(WAIT_S)])
    histories.of("ann")
    write(other, EraseUser("ann"))

    await follower.catch_up()

    assert histories.of("ann") == ()


async def test_new_version_does_not_hide_what_others_wrote(
    tmp_path: Path, published_store: ModelStore, make_version: Any, run_app: Any
) -> None:
    """It was built of all records; a read that names one of them waits until the histories know of it as well."""
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    shared = Settings(model_store=published_store.root, journal_url=url, follow_poll_s=3600, model_poll_s=3600)
    async with run_app(shared) as one, run_app(shared) as other:
        await other.client.get("/recommend/u0?k=100")
        answer = await one.client.post("/interactions", json={"user_id": "u0", "item_id": "i07"})
        make_version(published_store, "v2", seed=1, promote=False)
        await other.services.models.promote("v2")
        assert other.services.handle.current.followed == int(answer.headers["X-Index-Seq"])

        token = {"X-Index-Seq": answer.headers["X-Index-Seq"]}
        found = (await other.client.get("/recommend/u0?k=100", headers=token)).json()

    assert found["model_version"] == "v2"
    assert "i07" not in {item["item_id"] for item in found["items"]}


def on_trial(follower: JournalFollower, *, serving: int, trial: int) -> ServableHandle:
    """The follower's handle, with two versions that know the journal up to these records."""
    handle = follower._handle
    handle._servable = SimpleNamespace(followed=serving, version="v1")  # type: ignore[assignment]
    handle._contender = Contender(SimpleNamespace(followed=trial, version="v2"), 1.0, "split")  # type: ignore[arg-type]
    return handle


async def test_a_record_counts_once_the_version_on_trial_knows_it_as_well(
    journals: tuple[Shaky, SqlJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks may be served by that one."""
    shaky, other = journals
    follower = follower_of(shaky, Histories(shaky))
    last = write(other, *[Interact("ann", "a")] * 5)
    await follower.catch_up()
    handle = on_trial(follower, serving=last, trial=last - 2)

    def fail(_: int) -> Iterator[Any]:
        raise StorageUnavailable("down")

    async def apply(_servable: Any, _records: Any, seq: int) -> int:
        return seq

    monkeypatch.setattr(follower._replay, "apply", apply)
    with monkeypatch.context() as down:
        down.setattr(shaky, "read_others", fail)
        with pytest.raises(NotReachedYet):
            await follower.reach(last, 0.05)
        await follower.reach(last - 2, 0.05)
    await follower.reach(last, WAIT_S)

    assert [servable.followed for servable in handle.live] == [last, last]


async def test_a_trial_that_cannot_follow_ends(
    journals: tuple[Shaky, SqlJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not keep what serves from following."""
    shaky, other = journals
    follower = follower_of(shaky, Histories(shaky))
    last = write(other, Interact("ann", "a"))
    handle = on_trial(follower, serving=0, trial=0)

    async def apply(servable: Any, _records: Any, seq: int) -> int:
        if servable.version == "v2":
            raise EncodingFailed("broken")
        return seq

    monkeypatch.setattr(follower._replay, "apply", apply)
    await follower.catch_up()

    assert ([servable.followed for servable in handle.live], handle.contender) == ([last], None)
