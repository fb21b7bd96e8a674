"""Exchanges that cross each other: what is promoted, rolled back, tried and withdrawn while something is built."""

import threading
from collections.abc import Callable
from typing import Any

import anyio
import numpy as np
import pytest

from model_store import Bundle, Challenger, ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.building import Builder, Engines
from service.domain import Interact, Item, PutItem
from service.handle import ServableHandle
from service.loading import Loading
from service.metrics import Metrics
from service.ports import Encoder
from service.replay import Replay
from service.sync import ModelFollower
from service.trials import TrialFollower

pytestmark = pytest.mark.anyio

MakeVersion = Callable[..., None]
TEXT = np.ones(4, np.float32)
WAIT_S = 20


class Scene:
    """Both followers on in-memory adapters; v1 serves, v2 and v3 are published. What is opened can be held up."""

    def __init__(self, store: ModelStore, encoder_type: type) -> None:
        self.store, self.journal, self.handle = store, MemoryJournal(), ServableHandle()
        self.metrics, cache = Metrics(), MemoryCache(1000)
        self.opened: list[str] = []
        self.while_opening: Callable[[str], object] = lambda _: None

        def open_encoder(bundle: Bundle) -> Encoder:
            self.opened.append(bundle.version)
            self.while_opening(bundle.version)
            encoder: Encoder = encoder_type(bundle.version, modalities=bundle.manifest.modality_names)
            return encoder

        builder = Builder(store, self.journal, Replay(cache), Engines(open_encoder, MemoryIndex))
        loading = Loading(builder, self.handle)
        self.follower = ModelFollower(loading, self.handle, cache, self.metrics)
        self.trials = TrialFollower(loading, self.handle, self.metrics)

    def serves(self) -> str:
        """The version that does."""
        return self.handle.current.version

    def on_trial(self) -> str | None:
        """The version that is."""
        return self.handle.contender and self.handle.contender.servable.version

    def sample(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0


@pytest.fixture
async def scene(published_store: ModelStore, make_version: MakeVersion, fake_encoder: Any) -> Scene:
    """With v1 serving."""
    scene = Scene(published_store, type(fake_encoder))
    await scene.follower.refresh()
    for seed, version in enumerate(("v2", "v3"), start=1):
        make_version(published_store, version, seed=seed, promote=False)
    return scene


class Gate:
    """Holds up the opening of a version until it is let go of."""

    def __init__(self, scene: Scene, version: str) -> None:
        self._version, self._open, self.reached = version, threading.Event(), threading.Event()
        scene.while_opening = self._hold

    def _hold(self, version: str) -> None:
        if version == self._version:
            self.reached.set()
            assert self._open.wait(WAIT_S)

    def let_go(self) -> None:
        """Opens it."""
        self._open.set()


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    with anyio.fail_after(WAIT_S):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


async def test_what_is_rolled_back_while_it_is_built_never_serves(scene: Scene) -> None:
    """The operator said no before it could serve; the look after the build finds that out."""
    scene.store.promote("v2")
    scene.while_opening = lambda version: version == "v2" and scene.store.rollback()

    await scene.follower.refresh()

    assert (scene.serves(), scene.opened) == ("v1", ["v1", "v2"])
    assert scene.sample("i3rec_model_swaps_total", result="done") == 1


async def test_what_is_in_memory_serves_at_once_while_another_is_built(scene: Scene) -> None:
    """Going back does not wait for a build that nobody wants any more, which then is dropped."""
    scene.store.promote("v2")
    await scene.follower.refresh()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.follower.run, 0.01)
        gate = Gate(scene, "v3")
        scene.store.promote("v3")
        await until(gate.reached.is_set)
        scene.store.rollback()
        scene.store.rollback()

        await scene.follower.settle(WAIT_S)

        assert (scene.serves(), scene.store.current()) == ("v1", "v1")
        gate.let_go()
        await scene.follower.settle(WAIT_S)
        await until(lambda: not scene.follower._refreshing.locked())
        assert scene.serves() == "v1"
        tasks.cancel_scope.cancel()
    assert scene.opened == ["v1", "v2", "v3"]


async def test_who_asks_and_the_next_look_exchange_once(scene: Scene) -> None:
    """Where both find the same version in memory, one of them makes it serve."""
    scene.store.promote("v2")
    await scene.follower.refresh()
    scene.store.promote("v1")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(scene.follower.settle, WAIT_S)
            tasks.start_soon(scene.follower.refresh)

    assert scene.serves() == "v1"
    assert scene.sample("i3rec_model_swaps_total", result="done") == 3


async def test_who_waits_too_long_for_a_build_does_not_end_it(scene: Scene) -> None:
    """What was promoted serves later all the same, without being built anew."""
    gate = Gate(scene, "v2")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.follower.run, 3600.0)
        scene.store.promote("v2")

        await scene.follower.settle(0.05)

        assert scene.serves() == "v1"
        gate.let_go()
        await until(lambda: scene.serves() == "v2")
        tasks.cancel_scope.cancel()
    assert scene.opened == ["v1", "v2"]


async def test_going_back_applies_nothing_about_users(scene: Scene) -> None:
    """Interactions change no item, and there may be many since the version served last."""
    scene.store.promote("v2")
    await scene.follower.refresh()
    scene.journal.append(PutItem(Item("new", {"text": TEXT})))
    for _ in range(5):
        scene.journal.append(Interact("u0", "i05"))
    scene.store.promote("v1")

    await scene.follower.refresh()

    servable = scene.handle.current
    assert (servable.version, servable.index_seq, servable.followed) == ("v1", 1, 6)
    assert "new" in servable


async def test_exchange_that_fails_leaves_the_version_in_memory(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another try needs no build."""
    scene.store.promote("v2")
    await scene.follower.refresh()
    scene.store.promote("v1")
    with monkeypatch.context() as trouble:
        trouble.setattr(scene.journal, "latest", None)
        await scene.follower.settle(0.05)
    assert scene.serves() == "v2"

    await scene.follower.settle(0.05)

    assert (scene.serves(), scene.opened) == ("v1", ["v1", "v2"])


async def test_challenger_does_not_hold_up_what_is_to_serve(scene: Scene) -> None:
    """While it is built, another version is built and serves; the trial begins beside that."""
    gate = Gate(scene, "v3")
    scene.store.challenge(Challenger("v3", 0.5))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.trials.run, 0.01)
        await until(gate.reached.is_set)
        scene.store.promote("v1")
        await scene.follower.settle(WAIT_S)
        assert (scene.serves(), scene.on_trial()) == ("v1", None)
        gate.let_go()
        await until(lambda: scene.on_trial() == "v3")
        tasks.cancel_scope.cancel()


async def test_challenger_that_is_withdrawn_while_it_is_built_is_not_tried(scene: Scene) -> None:
    """Nor one whose version serves by then."""
    scene.while_opening = lambda version: version == "v3" and scene.store.challenge(None)
    scene.store.challenge(Challenger("v3", 0.5))

    await scene.trials.refresh()

    assert (scene.on_trial(), scene.opened) == (None, ["v1", "v3"])


async def test_version_that_is_tried_again_stays_at_hand(scene: Scene) -> None:
    """The version that served before goes on trial and is withdrawn: going back to it still needs no build."""
    scene.store.promote("v2")
    await scene.follower.refresh()
    for challenger in (Challenger("v1", 0.5), None):
        scene.store.challenge(challenger)
        await scene.trials.refresh()
        assert scene.on_trial() == (challenger and "v1")
    scene.store.promote("v1")

    await scene.follower.settle(WAIT_S)

    assert (scene.serves(), scene.opened) == ("v1", ["v1", "v2"])


async def test_challenger_that_cannot_be_read_has_not_failed(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; what is on trial stays so, and the alert on versions that fail stays silent."""
    scene.store.challenge(Challenger("v2", 0.5))
    await scene.trials.refresh()
    (scene.store.root / "CHALLENGER").write_text("garbage", encoding="utf-8")

    for _ in range(3):
        await scene.trials.refresh()

    assert caplog.text.count("challenger_unreadable") == 1
    assert scene.on_trial() == "v2"
    assert scene.trials.failure is not None
    assert scene.trials.failure.version is None
    assert not scene.sample("i3rec_trial_failures_total")
    scene.store.challenge(None)
    await scene.trials.refresh()
    assert (scene.on_trial(), scene.trials.failure) == (None, None)


async def test_a_failure_is_forgotten_once_nothing_is_promoted(scene: Scene) -> None:
    """What is no longer promoted has not failed to serve."""
    (scene.store.root / "CURRENT").write_text("garbage", encoding="utf-8")
    await scene.follower.refresh()
    assert scene.follower.failure is not None

    (scene.store.root / "CURRENT").write_text("", encoding="utf-8")
    await scene.follower.refresh()

    assert (scene.follower.failure, scene.serves()) == (None, "v1")
