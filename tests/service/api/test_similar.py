"""``GET /items/{item_id}/similar`` over HTTP, and items whose ids end like it."""

from typing import Any

import httpx
import numpy as np
import pytest

from model_store import ModelStore

pytestmark = pytest.mark.anyio

ITEMS = {f"i{n:02}" for n in range(12)}


def ids(answer: httpx.Response) -> set[str]:
    """The ids of a list."""
    return {item["item_id"] for item in answer.json()["items"]}


async def test_similar_items_are_those_of_a_fan(client: httpx.AsyncClient, published_store: ModelStore) -> None:
    """The list is that of a session of this item alone, best first, in the form of every list."""
    bundle = published_store.load()
    assert bundle.history_embeddings is not None
    scores = bundle.item_embeddings.astype(np.float64) @ bundle.history_embeddings[3].astype(np.float64)
    best = [n for n in np.argsort(-scores).tolist() if n != 3][:3]

    answer = await client.get("/items/i03/similar?k=3")

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "v1"
    assert {name: body[name] for name in body if name not in {"items", "next_cursor"}} == {
        "request_id": answer.headers["x-request-id"],
        "user_id": None,
        "strategy": "session",
        "model_version": "v1",
        "index_seq": 0,
        "degraded": [],
    }
    assert body["items"] == [
        {"item_id": f"i{n:02}", "score": pytest.approx(scores[n], rel=1e-5), "rank": rank, "title": f"Item {n}"}
        for rank, n in enumerate(best, start=1)
    ]


async def test_item_is_not_similar_to_itself(client: httpx.AsyncClient) -> None:
    """The item itself stays out, also where seen items are wanted."""
    for seen in ("exclude", "include"):
        assert ids(await client.get("/items/i03/similar", params={"seen": seen})) == ITEMS - {"i03"}


async def test_options_restrict_similar_items(client: httpx.AsyncClient) -> None:
    """Exclusions, categories and the least score hold as in every list."""
    full = (await client.get("/items/i03/similar")).json()["items"]

    restricted = await client.get("/items/i03/similar?category=a&exclude=i05&exclude=none")
    least = await client.get("/items/i03/similar", params={"min_score": full[1]["score"]})

    assert ids(restricted) == {"i01", "i07", "i09", "i11"}
    assert least.json()["items"] == full[:2]


async def test_similar_items_of_what_was_just_written(client: httpx.AsyncClient) -> None:
    """An item posted a moment ago has similar ones and is one, whatever its id; a hidden one only has them."""
    item = {"item_id": "new/1 ü", "modalities": {"text": [1, 2, 3, 4]}}
    await client.post("/items", json=item)

    of_new = await client.get("/items/new%2F1%20%C3%BC/similar")
    of_old = await client.get("/items/i03/similar")
    await client.post("/items", json=item | {"hidden": True})

    assert (of_new.status_code, ids(of_new)) == (200, ITEMS)
    assert ids(of_old) == ITEMS - {"i03"} | {"new/1 ü"}
    assert ids(await client.get("/items/new%2F1%20%C3%BC/similar")) == ITEMS
    assert ids(await client.get("/items/i03/similar")) == ITEMS - {"i03"}


async def test_similar_needs_an_item(client: httpx.AsyncClient) -> None:
    """Beside an unknown or deleted item, or none, there is nothing: 404."""
    await client.delete("/items/i03")

    for path in ("/items/i03/similar", "/items/nothing/similar", "/items//similar", f"/items/{'x' * 300}/similar"):
        refused = await client.get(path)

        assert (refused.status_code, refused.json()["type"]) == (404, "urn:i3rec:problem:unknown-item")


REFUSED = {
    "limit=5": "/query/limit",
    "strict=true": "/query/strict",
    "k=0": "/query/k",
    "k=501": "/query/k",
    "seen=maybe": "/query/seen",
    "min_score=nan": "/query/min_score",
    "min_score=1e999": "/query/min_score",
    "exclude=": "/query/exclude/0",
    "category=a&category=": "/query/category/1",
    "&".join(["category=a"] * 501): "/query/category",
}


@pytest.mark.parametrize(("query", "pointer"), REFUSED.items(), ids=[key[:30] for key in REFUSED])
async def test_similar_refuses_bad_queries(client: httpx.AsyncClient, query: str, pointer: str) -> None:
    """A parameter nobody knows, or of an impossible value, gets 422 with a pointer to it."""
    refused = await client.get(f"/items/i03/similar?{query}")

    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


@pytest.mark.parametrize("item_id", ["x/similar", "/similar", "similar", "x/similar/similar"])
async def test_items_may_be_named_like_the_route(client: httpx.AsyncClient, item_id: str) -> None:
    """With its slashes percent-encoded an item's path is the item; its own list is one segment further."""
    await client.post("/items", json={"item_id": "x"})
    path = (await client.post("/items", json={"item_id": item_id, "title": "T"})).headers["location"]

    found, beside = await client.get(path), await client.get(f"{path}/similar")
    unchanged = await client.get(path, headers={"If-None-Match": found.headers["etag"]})
    with_query = await client.get(f"{path}?k=1")

    assert (found.status_code, found.json()["item_id"], found.json()["title"]) == (200, item_id, "T")
    assert (beside.status_code, ids(beside)) == (200, ITEMS | {"x"})
    assert unchanged.status_code == 304
    assert (with_query.status_code, with_query.json()["errors"][0]["pointer"]) == (422, "/query/k")
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.get("/items/x")).status_code == 200


async def test_items_named_like_the_route_do_not_hide_it(client: httpx.AsyncClient) -> None:
    """Of an item and one whose id continues it with /similar, each path means its own."""
    for item_id in ("x", "x/similar"):
        await client.post("/items", json={"item_id": item_id})

    beside: Any = await client.get("/items/x/similar")

    assert ids(beside) == ITEMS | {"x/similar"}
    assert (await client.get("/items/x%2Fsimilar")).json()["item_id"] == "x/similar"
