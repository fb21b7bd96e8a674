"""Labels of items are made, and lists of known users searched for, before anybody asks."""

from collections.abc import Callable, Sequence
from typing import Any

import anyio
import numpy as np
import pytest

from model_store import ModelStore
from service import labels
from service.adapters.segmented_index import SegmentedIndex
from service.lists import Wish
from service.queries import Hit, Query
from service.servable import Servable
from service.settings import Settings
from service.warming import Warming, most_active

pytestmark = pytest.mark.anyio
WAIT_S = 30


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    with anyio.fail_after(WAIT_S):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


def remembered(running: Any, k: int = 20) -> list[str]:
    """The users of the model whose lists of that length would take no search."""
    servable, fast_path = running.services.handle.current, running.services.fast_path
    asked = {user_id: fast_path.expected(servable, user_id, Wish(k)) for user_id in servable.bundle.users}
    return [user_id for user_id, query in asked.items() if query and servable.index.recall(query) is not None]


async def test_labels_are_there_before_anybody_asks(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of every item of the model, and those alone are made when a list is that speak of what was written."""
    made: list[str] = []
    label = labels.label_of
    monkeypatch.setattr(labels, "label_of", lambda item_id, title: (made.append(item_id), label(item_id, title))[1])
    async with run_app(settings) as running:
        items = list(running.services.handle.current.bundle.items)
        await until(lambda: len(made) == len(items))
        assert sorted(made) == sorted(items)
        await running.client.patch(f"/items/{items[0]}", json={"title": "New"})
        answer = await running.client.get("/recommend/nobody?k=100")

    assert {item["title"] for item in answer.json()["items"] if item["item_id"] == items[0]} == {"New"}
    assert made[len(items) :] == [items[0]]


async def test_labels_are_made_of_the_most_popular_items(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not all have room; half of it is left for those that are wanted later."""
    monkeypatch.setattr("service.warming.MOST", 6)
    async with run_app(settings) as running:
        bundle = running.services.handle.current.bundle
        made = running.services.fast_path._making.labels
        await until(lambda: len(made._at_hand(running.services.handle.current).trained) == 3)
        best = sorted(range(len(bundle.items)), key=lambda row: (-bundle.popularity[row], row))[:3]

        assert made._at_hand(running.services.handle.current).trained.missing(best) == []


async def test_failing_labels_end_it_and_nothing_else(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; they are made when a list is."""

    def fail(*_: object) -> None:
        raise RuntimeError("disk broke")

    monkeypatch.setattr(labels.Labels, "learn", fail)
    async with run_app(settings) as running:
        await until(lambda: "labelling_failed" in caplog.text)
        answer = await running.client.get("/recommend/u0")

    assert answer.status_code == 200
    assert "disk broke" in caplog.text


async def test_lists_are_there_before_anybody_asks(run_app: Any, settings: Settings) -> None:
    """Those of all users the model has a vector of, and what is given then is what a search would give."""
    async with run_app(settings) as cold:
        users = list(cold.services.handle.current.bundle.users)
        await until(lambda: cold.services.fast_path.expected(cold.services.handle.current, "u0", Wish(20)) is not None)
        assert remembered(cold) == []
        expected = [(await cold.client.get(f"/recommend/{user}")).json()["items"] for user in users]
    async with run_app(settings.model_copy(update={"warm_lists": True})) as warm:
        await until(lambda: remembered(warm) == users)
        found = [(await warm.client.get(f"/recommend/{user}")).json()["items"] for user in users]
        misses = warm.services.metrics.registry.get_sample_value("i3rec_search_recalls_total", {"known": "no"})

    assert found == expected
    assert misses == 0


async def test_as_many_as_are_remembered(run_app: Any, settings: Settings) -> None:
    """The most active users are chosen."""
    async with run_app(settings.model_copy(update={"warm_lists": True, "remembered_lists": 2})) as running:
        servable = running.services.handle.current
        chosen = set(servable.bundle.users.ids(most_active(servable, 2)))
        await until(lambda: set(remembered(running)) == chosen)


def test_most_active_first(published_store: ModelStore, fake_encoder: Any) -> None:
    """By how much they did in training; of equal ones the earlier row."""
    bundle = published_store.load()
    servable = Servable(bundle, fake_encoder, SegmentedIndex(bundle.items, bundle.item_embeddings))
    lengths = np.diff(bundle.seen_indptr).tolist()

    assert most_active(servable, 3) == sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))[:3]


async def test_a_failing_search_ends_it_and_nothing_else(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; lists are made when they are asked for."""
    search_many = SegmentedIndex.search_many

    def fail(index: SegmentedIndex, queries: Sequence[Query]) -> list[list[Hit]]:
        if len(queries) > 1:
            raise RuntimeError("index broke")
        return search_many(index, queries)

    monkeypatch.setattr(SegmentedIndex, "search_many", fail)
    async with run_app(settings.model_copy(update={"warm_lists": True})) as running:
        await until(lambda: "warming_failed" in caplog.text)
        answer = await running.client.get("/recommend/u0")

    assert answer.status_code == 200
    assert "index broke" in caplog.text


async def test_every_version_is_warmed(run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, when it comes to serve."""
    seen: list[str] = []

    async def noted(_: Warming, version: str) -> None:
        seen.append(version)

    monkeypatch.setattr(Warming, "_warm", noted)
    async with run_app(settings.model_copy(update={"warm_lists": True})) as running:
        await until(lambda: seen == ["v1"])
        monkeypatch.setattr(Servable, "version", "v2")
        await until(lambda: seen == ["v1", "v2"])
        assert running.services.handle.current.version == "v2"
