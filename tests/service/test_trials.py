"""A version on trial beside the one that serves: split tests and shadows."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from model_store import Challenger, ModelStore
from service.domain import Recommendation, Record, Suggestion
from service.errors import EncodingFailed
from service.handle import Contender, ServableHandle
from service.lists import Wish
from service.metrics import Metrics
from service.settings import Settings
from service.shadow import Shadow, overlap

pytestmark = pytest.mark.anyio

MakeVersion = Callable[..., None]
TEXT = [1.0, 2.0, 3.0, 4.0]
ON_TRIAL: Any = SimpleNamespace(version="v2", followed=0)
USERS = [f"user {n}" for n in range(300)]


@pytest.fixture
async def running(
    run_app: Any, settings: Settings, published_store: ModelStore, make_version: MakeVersion
) -> AsyncIterator[Any]:
    """A service on v1; v2 and v3 are published."""
    for seed, version in enumerate(("v2", "v3"), start=5):
        make_version(published_store, version, seed=seed, promote=False)
    async with run_app(settings) as running:
        yield running


async def live(running: Any, version: str | None) -> None:
    """Waits until a version is on trial, or none is."""

    def is_so() -> bool:
        contender = running.services.handle.contender
        return (contender and contender.servable.version) == version

    await until(is_so)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so."""
    with anyio.fail_after(20):
        while True:
            if condition():
                return
            await anyio.sleep(0.01)


async def arms(running: Any) -> dict[str, str]:
    """The version that answers each user."""
    answer = (await running.client.post("/recommend/batch", json={"users": USERS[:100], "k": 3})).json()
    return {result["user_id"]: result["model_version"] for result in answer["results"]}


def sample(running: Any, name: str, **labels: str) -> float:
    """The value of a metric."""
    return running.services.metrics.registry.get_sample_value(name, labels) or 0


async def test_a_share_of_the_users_is_served_by_the_challenger(running: Any, published_store: ModelStore) -> None:
    """Always the same users; more of them when the share grows; those without a name never."""
    assert set((await arms(running)).values()) == {"v1"}
    published_store.challenge(Challenger("v2", 0.3))
    await live(running, "v2")
    first = await arms(running)
    assert 15 <= sum(version == "v2" for version in first.values()) <= 45
    assert await arms(running) == first
    for user in USERS[:5]:
        assert (await running.client.get(f"/recommend/{user}")).headers["X-Model-Version"] == first[user]
    published_store.challenge(Challenger("v2", 0.7))
    await until(lambda: running.services.handle.contender.share == 0.7)
    second = await arms(running)
    assert {user for user, version in first.items() if version == "v2"} < {
        user for user, version in second.items() if version == "v2"
    }
    assert (await running.client.post("/recommend", json={"history": ["i01"]})).json()["model_version"] == "v1"
    published_store.challenge(None)
    await live(running, None)
    assert set((await arms(running)).values()) == {"v1"}


async def test_writes_reach_both_arms_before_they_are_acknowledged(running: Any, published_store: ModelStore) -> None:
    """Posts, patches, batches and deletions show at once in the lists of either version."""
    published_store.challenge(Challenger("v2", 0.5))
    await live(running, "v2")
    client = running.client

    async def shown(version: str) -> set[str]:
        answer = (await client.get("/recommend/u0", params={"k": 100, "model": version})).json()
        assert answer["model_version"] == version
        return {item["item_id"] for item in answer["items"]}

    for step, has, lacks in (
        (lambda: client.post("/items", json={"item_id": "a", "modalities": {"text": TEXT}}), {"a"}, set()),
        (lambda: client.post("/items/batch", json=[{"item_id": "b"}, {"item_id": "c"}]), {"a", "b", "c"}, set()),
        (lambda: client.patch("/items/b", json={"hidden": True}), {"a", "c"}, {"b"}),
        (lambda: client.delete("/items/i05"), {"a", "c"}, {"b", "i05"}),
        (lambda: client.delete("/items/a"), {"c"}, {"a", "b", "i05"}),
    ):
        assert (await step()).is_success
        for version in ("v1", "v2"):
            found = await shown(version)
            assert (has <= found, lacks & found) == (True, set()), version


async def test_either_version_can_be_asked_for(running: Any, published_store: ModelStore) -> None:
    """By name; one that is neither serving nor on trial is refused with 409."""
    published_store.challenge(Challenger("v2", 0.5))
    await live(running, "v2")
    statuses = {
        version: (await running.client.get("/recommend/u0", params={"model": version})).status_code
        for version in ("v1", "v2", "v3", "none")
    }
    assert statuses == {"v1": 200, "v2": 200, "v3": 409, "none": 409}
    listed = (await running.client.get("/models")).json()
    assert listed["challenger"] == {"version": "v2", "share": 0.5, "mode": "split", "live": True}


async def test_challenger_that_wins_serves_as_it_is(running: Any, published_store: ModelStore) -> None:
    """Promoting it ends the trial; nothing is built again, and what was written is there."""
    published_store.challenge(Challenger("v2", 0.5))
    await live(running, "v2")
    await running.client.post("/items", json={"item_id": "a"})
    on_trial = running.services.handle.contender.servable

    await running.client.post("/models/v2/activate")

    assert running.services.handle.current is on_trial
    assert (running.services.handle.contender, published_store.challenger()) == (None, None)
    assert (await running.client.get("/items/a")).status_code == 200
    assert (await running.client.post("/models/rollback")).json()["serving"] == "v1"


async def test_challenger_that_fails_costs_no_write(
    running: Any, published_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken off trial, and the write is acknowledged."""
    published_store.challenge(Challenger("v2", 0.5))
    await live(running, "v2")

    def fail(_: object) -> None:
        raise EncodingFailed("broken")

    monkeypatch.setattr(running.services.handle.contender.servable.encoder, "encode", fail)
    written = await running.client.post("/items", json={"item_id": "a", "modalities": {"text": TEXT}})

    assert written.status_code == 201
    assert set((await arms(running)).values()) <= {"v1", "v2"}
    await live(running, "v2")  # a fresh one, which knows the item
    assert "a" in running.services.handle.contender.servable


async def test_version_of_a_trial_that_ended_beside_a_write_lacks_nothing_later(
    running: Any, published_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not told of the write, which its follower took for known; once it serves from memory, it has the item."""
    services = running.services
    await running.client.post("/models/v2/activate")
    published_store.challenge(Challenger("v1", 0.5))
    await live(running, "v1")
    peers, on_its_way, told = services.catalog._peers, anyio.Event(), anyio.Event()

    async def spread(records: Sequence[Record]) -> None:
        on_its_way.set()
        await told.wait()
        await peers.spread(records)

    monkeypatch.setattr(services.catalog, "_peers", replace(peers, spread=spread))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(running.client.post, "/items", json={"item_id": "a"}))
        await on_its_way.wait()
        await peers.catch_up()
        published_store.challenge(None)
        await live(running, None)
        told.set()
    await running.client.post("/models/v1/activate")

    assert services.handle.current.version == "v1"
    assert (await running.client.get("/items/a")).status_code == 200


async def test_challenger_that_cannot_be_built_changes_nothing(
    running: Any, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """The trial is named in /models, but not live."""
    make_version(published_store, "bad", encoder=b"no ONNX", promote=False)
    published_store.challenge(Challenger("bad", 1.0))
    await anyio.sleep(0.2)
    listed = (await running.client.get("/models")).json()
    assert (listed["challenger"]["live"], listed["serving"], listed["failed"]) == (False, "v1", None)
    assert set((await arms(running)).values()) == {"v1"}


async def test_arms_are_measured(running: Any, published_store: ModelStore) -> None:
    """Lists and interactions are counted by the arm of their user."""
    published_store.challenge(Challenger("v2", 0.5))
    await live(running, "v2")
    found = await arms(running)
    for user in USERS[:20]:
        await running.client.post("/interactions", json={"user_id": user, "item_id": "i01"})
    for arm, version in (("current", "v1"), ("challenger", "v2")):
        lists = sum(each == version for each in found.values())
        clicks = sum(found[user] == version for user in USERS[:20])
        assert sample(running, "i3rec_arm_lists_total", arm=arm) == lists
        assert sample(running, "i3rec_arm_interactions_total", arm=arm) == clicks


async def test_shadows_answer_aside(running: Any, published_store: ModelStore) -> None:
    """Nobody is served by them; what they have in common with the lists that are shown is measured."""
    published_store.challenge(Challenger("v2", 1.0, "shadow"))
    await live(running, "v2")
    for user in ("u0", "u1", "u2"):
        answer = await running.client.get(f"/recommend/{user}?k=5")
        assert answer.json()["model_version"] == "v1"
    await until(lambda: sample(running, "i3rec_shadow_overlap_count") == 3)
    assert 0 <= sample(running, "i3rec_shadow_overlap_sum") <= 3
    # 3 lists of 5 places were shown; those of the shadow are not counted.
    shown = [sample(running, "i3rec_impressions_total", item=item) for item in ("new", "trained")]
    assert sum(shown) == 15


def recommendation(*items: str) -> Recommendation:
    """A list."""
    return Recommendation("u", "personal", "v1", 0, [Suggestion(item, 1.0, None) for item in items])


@pytest.mark.parametrize(("share", "compared"), [(0.2, 2), (0.5, 5), (1.0, 10)])
async def test_shadow_takes_its_share_and_never_waits(share: float, compared: int) -> None:
    """Of many lists its share; those beyond what may wait are left out, and counted."""
    handle, metrics = ServableHandle(), Metrics()
    handle.challenge(Contender(ON_TRIAL, share, "shadow"))
    chances = iter([n / 10 for n in range(10)] + [0.0] * 100)
    shadow = Shadow(handle, lambda *_: recommendation("a", "b"), metrics, lambda: next(chances))
    for _ in range(10):
        shadow.offer("u", Wish(2), recommendation("b", "c"))
    for _ in range(100):
        shadow.offer("u", Wish(2), recommendation("b", "c"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shadow.run)
        await until(lambda: metrics.registry.get_sample_value("i3rec_shadow_overlap_count") == 32)
        tasks.cancel_scope.cancel()
    assert metrics.registry.get_sample_value("i3rec_shadow_skipped_total") == compared + 100 - 32
    assert metrics.registry.get_sample_value("i3rec_shadow_overlap_sum") == pytest.approx(0.5 * 32)


async def test_shadow_that_fails_is_counted() -> None:
    """And goes on with the next list."""
    handle, metrics = ServableHandle(), Metrics()
    handle.challenge(Contender(ON_TRIAL, 1.0, "shadow"))

    def answer(_: object, user_id: str, __: object) -> Recommendation:
        if user_id == "bad":
            raise EncodingFailed("broken")
        return recommendation("a")

    shadow = Shadow(handle, answer, metrics)
    shadow.offer("bad", Wish(1), recommendation("a"))
    shadow.offer("good", Wish(1), recommendation("a"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shadow.run)
        await until(lambda: metrics.registry.get_sample_value("i3rec_shadow_overlap_count") == 1)
        tasks.cancel_scope.cancel()
    assert metrics.registry.get_sample_value("i3rec_shadow_failures_total") == 1


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("", "", 1), ("ab", "ab", 1), ("ab", "ba", 1), ("ab", "cd", 0), ("ab", "bcde", 0.25)]
)
def test_overlap_is_the_common_share(one: str, other: str, expected: float) -> None:
    """Of the longer list, whatever the order."""
    assert overlap(list(one), list(other)) == overlap(list(other), list(one)) == expected
