"""``GET /items`` over HTTP."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from model_store import ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio

TRAINED = [f"i{n:02}" for n in range(12)]
FULL = {
    "item_id": "a/b ü",
    "modalities": {"text": [-0.0, 1e-45, 1e30, 0.1], "image": [1.0, 2.0, 3.0]},
    "title": "T",
    "categories": ["x", "y"],
    "attributes": {"price": 1.5, "size": 3, "new": True, "brand": "acme"},
    "available": False,
    "hidden": True,
    "expires_at": "2030-01-01T12:00:00+02:00",
}
ANSWERED = ("index_seq", "encoding")  # what is answered of an item and not posted


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """The whole catalogue, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await client.get("/items", params=query)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        query["cursor"] = answer.json()["next_cursor"]
        if query["cursor"] is None:
            return items


def ids(items: list[dict[str, Any]]) -> list[str]:
    """Their ids."""
    return [item["item_id"] for item in items]


@pytest.mark.parametrize("limit", [1, 4, 13, 1000])
async def test_pages_hold_the_whole_catalogue(client: httpx.AsyncClient, limit: int) -> None:
    """Every item once, as a look at it shows it; hidden, unavailable and expired ones too, deleted ones not."""
    await client.post("/items", json=FULL)
    await client.post("/items", json={"item_id": "expired", "expires_at": "2020-01-01T00:00:00Z"})
    await client.patch("/items/i03", json={"title": "Mine"})
    await client.post("/items", json={"item_id": "gone"})
    for item_id in ("gone", "i05"):
        await client.delete(f"/items/{item_id}")

    items = await listed(client, limit=limit)

    expected = [item_id for item_id in TRAINED if item_id not in {"i03", "i05"}]
    assert ids(items) == [*expected, "a/b ü", "expired", "i03"]
    for item in items:
        path = "/items/" + item["item_id"].replace("/", "%2F")
        assert (await client.get(path)).json() == item


async def test_answer_has_the_form_of_the_contract(client: httpx.AsyncClient) -> None:
    """A page names the version and the way on; a hundred items are a page where nothing is said."""
    await client.post("/items/batch", json=[{"item_id": f"n{n:03}"} for n in range(150)])

    first = await client.get("/items")
    second = await client.get("/items", params={"cursor": first.json()["next_cursor"]})

    assert first.headers["x-model-version"] == "v1"
    assert ids(first.json()["items"]) == TRAINED + [f"n{n:03}" for n in range(88)]
    assert ids(second.json()["items"]) == [f"n{n:03}" for n in range(88, 150)]
    assert "modalities" not in first.json()["items"][0]
    assert first.json().keys() == {"items", "next_cursor"}


async def test_catalogue_can_be_carried_elsewhere(client: httpx.AsyncClient, run_app: Any, settings: Settings) -> None:
    """What is listed with features, posted to another service, is listed there just so, to the bit."""
    await client.post("/items", json=FULL)
    await client.patch("/items/i03", json={"hidden": True, "attributes": {"n": 2**63 - 1}})
    items = await listed(client, features="true", limit=5)
    bodies = [{name: value for name, value in item.items() if name not in ANSWERED} for item in items]
    elsewhere = settings.model_copy(update={"journal_url": settings.journal_url.replace("journal.", "other.")})

    async with run_app(elsewhere) as running:
        written = await running.client.post("/items/batch", json=bodies)
        carried = await listed(running.client, features="true", limit=5)

    assert written.json()["failed"] == 0
    assert [{**item, "index_seq": 0} for item in carried] == [{**item, "index_seq": 0} for item in items]
    (full,) = (item for item in items if item["item_id"] == "a/b ü")
    packed = base64.b64decode(full["modalities"]["text"]["embedding_b64"])
    assert packed.hex() == "0000008001000000caf24971cdcccc3d"


async def test_pages_go_on_over_restarts_and_other_versions(
    run_app: Any, settings: Settings, make_version: Callable[..., None], published_store: ModelStore
) -> None:
    """A cursor says where to go on, wherever it is asked."""
    async with run_app(settings) as running:
        await running.client.post("/items/batch", json=[{"item_id": name} for name in ("new", "i00", "i11")])
        first = (await running.client.get("/items?limit=4")).json()
    async with run_app(settings) as running:
        second = (await running.client.get("/items", params={"limit": 4, "cursor": first["next_cursor"]})).json()
        make_version(published_store, "v2", seed=3, promote=False)
        await running.client.post("/models/v2/activate")
        rest = await listed(running.client, cursor=second["next_cursor"])

    assert ids(first["items"]) + ids(second["items"]) + ids(rest) == [*TRAINED[1:11], "new", "i00", "i11"]
    assert {item["encoding"]["model_version"] for item in rest} == {"v2"}


REFUSED = {
    "limit=0": "/query/limit",
    "limit=-1": "/query/limit",
    "limit=1001": "/query/limit",
    "limit=1.5": "/query/limit",
    "limit=": "/query/limit",
    "limit=many": "/query/limit",
    "limit=" + "9" * 5000: "/query/limit",
    "limit=3&limit=3": "/query/limit",
    "features=maybe": "/query/features",
    "k=3": "/query/k",
    "category=a": "/query/category",
    "cursor=": "/query/cursor",
    "cursor=abc": "/query/cursor",
    "cursor=a": "/query/cursor",
    "cursor=%C3%A4": "/query/cursor",
    "cursor=dzA%3D": "/query/cursor",
    "cursor=dzA%0A": "/query/cursor",
    "cursor=eDA": "/query/cursor",  # x0
    "cursor=dy0x": "/query/cursor",  # w-1
    "cursor=dzEuNQ": "/query/cursor",  # w1.5
    "cursor=d9mh": "/query/cursor",  # no UTF-8 after the w
    "cursor=d" + "zk5OTk5OTk5OTk5OTk5OTk5OTk5": "/query/cursor",  # a number no database holds
    "cursor=" + "d" * 2001: "/query/cursor",
    "cursor=ASS4vn2WraoHOIY": "/query/cursor",  # one of a list
}


@pytest.mark.parametrize(("query", "pointer"), REFUSED.items(), ids=[key[:30] for key in REFUSED])
async def test_bad_queries_are_refused(client: httpx.AsyncClient, query: str, pointer: str) -> None:
    """With one pointer to what is wrong."""
    refused = await client.get(f"/items?{query}")

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_pages_are_limited_by_the_settings(run_app: Any, settings: Settings) -> None:
    """Where nothing is said, a page is no longer than that either."""
    async with run_app(settings.model_copy(update={"max_page_items": 3})) as running:
        refused = await running.client.get("/items?limit=4")
        asked, unasked = await running.client.get("/items?limit=3"), await running.client.get("/items")

    assert refused.json()["errors"] == [{"pointer": "/query/limit", "detail": "expected at most 3, found 4"}]
    assert ids(asked.json()["items"]) == ids(unasked.json()["items"]) == TRAINED[:3]


async def test_a_read_key_is_enough(run_app: Any, settings: Settings) -> None:
    """To list is to read; without a key there is nothing."""
    keys = {"read_keys": ("r" * 16,), "write_keys": ("w" * 16,)}
    guarded = Settings(**{**settings.model_dump(), **keys})
    async with run_app(guarded) as running:
        without = await running.client.get("/items")
        read = await running.client.get("/items?features=true", headers={"X-API-Key": "r" * 16})

    assert (without.status_code, read.status_code) == (401, 200)


async def test_without_a_model_or_a_journal_there_is_no_catalogue(
    running: Any, run_app: Any, settings: Settings, tmp_path: Any
) -> None:
    """503 for both; what only the model knows needs no journal."""
    async with run_app(settings.model_copy(update={"model_store": tmp_path / "none"})) as empty:
        unready = await empty.client.get("/items")
    trained = await running.client.get("/items?limit=12")
    running.services.inventory._journal.close()  # white box: the shortest way to a journal that refuses

    written = await running.client.get("/items", params={"cursor": trained.json()["next_cursor"]})

    assert (unready.status_code, unready.json()["type"]) == (503, "urn:i3rec:problem:model-unavailable")
    assert (trained.status_code, written.status_code) == (200, 503)
    assert written.json()["type"] == "urn:i3rec:problem:storage-unavailable"


async def test_other_methods_are_told_the_right_ones(client: httpx.AsyncClient) -> None:
    """The path is that of posts, too."""
    refused = await client.put("/items", json={})

    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST")
