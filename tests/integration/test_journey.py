"""An item's life over restarts and model versions, with the real adapters."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Runs an app with its lifespan and gives a client."""
    app = create_app(settings)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
            yield client


@pytest.fixture
def settings(tmp_path: Path, published_store: ModelStore, redis_server: Any) -> Settings:
    """An app with journal, Redis, and a quick eye on CURRENT."""
    return Settings(
        model_store=published_store.root,
        journal_url=f"sqlite:///{tmp_path}/var/journal.sqlite3",
        redis_url=redis_server.url,
        model_poll_s=0.02,
    )


async def recommended(client: httpx.AsyncClient, user_id: str = "u0") -> dict[str, float]:
    """What the user is recommended, with scores."""
    answer = await client.get(f"/recommend/{user_id}?k=500")
    assert answer.status_code == 200, answer.text
    return {item["item_id"]: item["score"] for item in answer.json()["items"]}


async def test_partial_item_lives_until_it_is_deleted(settings: Settings) -> None:
    """Posted with one modality it is recommended at once and after a restart; deleted, it never is again."""
    async with serve(settings) as client:
        posted = await client.post("/items", json={"item_id": "new", "modalities": {"text": [1, 2, 3, 4]}})
        assert posted.status_code == 201
        assert posted.json()["encoding"]["missing"] == ["image"]
        before = await recommended(client)
        assert "new" in before
        assert "new" in await recommended(client, "nobody")

    async with serve(settings) as client:
        assert await recommended(client) == before
        assert (await client.delete("/items/new")).status_code == 204
        assert (await client.delete("/items/i05")).status_code == 204
        assert not {"new", "i05"} & set(await recommended(client))

    async with serve(settings) as client:
        assert not {"new", "i05"} & set(await recommended(client))
        assert (await client.get("/items/new")).status_code == 404


async def test_lost_redis_changes_nothing(settings: Settings, redis_server: Any) -> None:
    """A restart with an empty Redis, or with none, gives the same lists: it holds nothing that is not elsewhere."""
    async with serve(settings) as client:
        for n in range(20):
            await client.post("/items", json={"item_id": f"n{n}", "modalities": {"text": [n, 1, 0, -n]}})
        before = await recommended(client)

    redis_server.kill()
    async with serve(settings) as client:
        without = await recommended(client)
    redis_server.start()
    async with serve(settings) as client:
        empty = await recommended(client)

    assert without.keys() == empty.keys() == before.keys()
    assert list(without.values()) == pytest.approx(list(before.values()))


async def test_model_is_exchanged_under_writes_without_losing_any(
    settings: Settings, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """While items are written, versions change; every acknowledged item is served, encoded by the last version."""
    acknowledged: list[str] = []
    stop = anyio.Event()

    async with serve(settings) as client:

        async def write(name: str) -> None:
            n = 0
            while not stop.is_set():
                item_id = f"{name}-{n}"
                answer = await client.post("/items", json={"item_id": item_id, "modalities": {"image": [n, 1, 2]}})
                assert answer.status_code == 201, answer.text
                acknowledged.append(item_id)
                assert item_id in await recommended(client)
                n += 1

        async def promote() -> None:
            for version in ("v2", "v3", "v4"):
                make_version(published_store, version, seed=int(version[1]), promote=False)
                published_store.promote(version)
                with anyio.fail_after(10):
                    while (await client.get("/readyz")).json()["model_version"] != version:  # noqa: ASYNC110 - polls HTTP
                        await anyio.sleep(0.01)
            stop.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, "a")
            tasks.start_soon(write, "b")
            await promote()

        served = await recommended(client)
        assert len(acknowledged) > 4
        assert set(acknowledged) <= set(served)
        for item_id in acknowledged:
            item = (await client.get(f"/items/{item_id}")).json()
            assert item["encoding"]["model_version"] == "v4"


async def test_apps_in_one_process_are_strangers(settings: Settings, tmp_path: Path) -> None:
    """Two apps share neither items nor metrics."""
    other = settings.model_copy(update={"journal_url": f"sqlite:///{tmp_path}/other.sqlite3"})
    async with serve(settings) as first, serve(other) as second:
        await first.post("/items", json={"item_id": "new"})

        assert (await second.get("/items/new")).status_code == 404
        assert "i3rec_online_items 0.0" in (await second.get("/metrics")).text
