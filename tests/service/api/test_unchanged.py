"""Items that are written with the features they have, over HTTP."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from model_store import ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = [0.5, -1.0, 2.0, 0.25]


async def features_of(client: httpx.AsyncClient, item_id: str) -> dict[str, Any]:
    """What the catalogue gives as the features of an item."""
    query = {"features": "true"}
    while True:
        page = (await client.get("/items", params=query)).json()
        for item in page["items"]:
            if item["item_id"] == item_id:
                return item["modalities"]
        query["cursor"] = page["next_cursor"]


async def write(client: httpx.AsyncClient, way: str, body: dict[str, Any]) -> dict[str, Any]:
    """Writes an item by one of the routes there are; what is answered of it."""
    if way == "batch":
        answer = await client.post("/items/batch", json=[body])
        assert answer.json()["failed"] == 0
        return answer.json()["results"][0]
    if way == "patch":
        path = f"/items/{body['item_id']}"
        answer = await client.patch(path, json={name: body[name] for name in body if name != "item_id"})
    else:
        answer = await client.post("/items", json=body)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def scores(client: httpx.AsyncClient, history: str) -> dict[str, float]:
    """What every other item scores for a fan of one."""
    answer = await client.post("/recommend", json={"history": [history], "k": 100})
    return {item["item_id"]: item["score"] for item in answer.json()["items"]}


ways = pytest.mark.parametrize("way", ["post", "batch", "patch"])


@ways
async def test_trained_item_keeps_its_place(run_app: Any, settings: Settings, way: str) -> None:
    """Its score is what it was, its encoding the trained one; after a restart too; other features end that."""
    async with run_app(settings) as running:
        client = running.client
        before = await scores(client, "i05")
        features = await features_of(client, "i02")

        written = await write(client, way, {"item_id": "i02", "modalities": features, "title": "Mine"})

        assert written["encoding"] == {
            "present": ["image", "text"],
            "missing": [],
            "confidence": None,
            "model_version": "v1",
        }
        assert await scores(client, "i05") == before
        timing = (await client.post("/items", json={"item_id": "i02", "modalities": features})).headers["server-timing"]
        assert "encode" not in timing
    async with run_app(settings) as running:
        client = running.client
        assert await scores(client, "i05") == before
        assert (await client.get("/items/i02")).json()["encoding"]["confidence"] is None
        assert await features_of(client, "i02") == features

        written = await write(client, way, {"item_id": "i02", "modalities": BARE[way]})

        assert written["encoding"]["confidence"] is not None
        assert (await scores(client, "i05"))["i02"] != before["i02"]


# What leaves i02 without an image: a patch takes it away, the others replace the item.
BARE: dict[str, dict[str, Any]] = {"post": {"text": TEXT}, "batch": {"text": TEXT}, "patch": {"image": None}}


@ways
async def test_facts_alone_leave_the_encoding(client: httpx.AsyncClient, way: str) -> None:
    """An item written online keeps its score and its confidence when it is written again with other facts."""
    body = {"item_id": "new", "modalities": {"text": TEXT}}
    first = await write(client, "post", body)
    before = await scores(client, "i05")

    again = await write(client, way, body | {"title": "T", "attributes": {"price": 3}})
    patched = await client.patch("/items/new", json={"categories": ["a"]})

    assert (again["index_seq"], patched.json()["index_seq"]) == (2, 3)
    assert again["encoding"] == patched.json()["encoding"] == first["encoding"]
    assert "encode" not in patched.headers["server-timing"]
    assert await scores(client, "i05") == before
    assert (await client.get("/items/new")).json()["attributes"] == {"price": 3}


async def test_numbers_and_packed_numbers_are_the_same_features(client: httpx.AsyncClient) -> None:
    """It matters what they are, not how they were sent."""
    await client.post("/items", json={"item_id": "new", "modalities": {"text": TEXT}})
    features = await features_of(client, "new")

    again = await client.post("/items", json={"item_id": "new", "modalities": features})

    assert again.status_code == 200
    assert "encode" not in again.headers["server-timing"]


@pytest.mark.parametrize(("watermark", "trained"), [(0, False), (1, True)])
async def test_next_version_decides_by_when_the_features_came(
    run_app: Any,
    settings: Settings,
    make_version: Callable[..., None],
    published_store: ModelStore,
    watermark: int,
    *,
    trained: bool,
) -> None:
    """Features of record 1 are those of a version trained up to there, though they were sent again since."""
    async with run_app(settings) as running:
        client = running.client
        body = {"item_id": "i02", "modalities": {"text": TEXT}}
        for title in ("First", "Second"):
            await client.post("/items", json=body | {"title": title})
        make_version(published_store, "v2", seed=3, watermark=watermark, promote=False)
        assert (await client.post("/models/v2/activate")).status_code == 200

        found = (await client.get("/items/i02")).json()
        again = (await client.post("/items", json=body | {"title": "Third"})).json()

    assert (found["title"], found["index_seq"]) == ("Second", 2)
    assert (found["encoding"]["confidence"] is None) == (again["encoding"]["confidence"] is None) == trained
    assert found["encoding"]["model_version"] == "v2"


async def test_deleted_item_is_encoded_when_it_comes_back(client: httpx.AsyncClient) -> None:
    """With the features it was trained with, too."""
    features = await features_of(client, "i02")
    await client.delete("/items/i02")

    created = await client.post("/items", json={"item_id": "i02", "modalities": features})

    assert created.status_code == 201
    assert created.json()["encoding"]["confidence"] == 1.0


async def test_features_must_fit_though_nothing_is_encoded(client: httpx.AsyncClient) -> None:
    """What stands already is no way around the checks."""
    await client.post("/items", json={"item_id": "new", "modalities": {"text": TEXT}})

    refused = await client.post("/items", json={"item_id": "new", "modalities": {"text": [*TEXT, 1.0]}})

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/modalities/text"
