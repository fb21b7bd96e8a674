"""``/items`` over HTTP."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import create_app  # noqa: F401 - a missing engine shows here, not in each test
from service.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = [0.5, -1.0, 2.0, 0.25]
IMAGE = [1.0, 2.0, 3.0]


def b64(values: list[float]) -> str:
    """Packs numbers as clients do."""
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


async def test_post_creates_then_replaces(client: httpx.AsyncClient) -> None:
    """The first post of an id answers 201 with its Location, the second 200; both report the encoding."""
    body = {"item_id": "new/1 ü", "modalities": {"text": TEXT}, "title": "New"}

    created = await client.post("/items", json=body)
    replaced = await client.post(
        "/items", json=body | {"modalities": {"text": TEXT, "image": {"embedding_b64": b64(IMAGE)}}}
    )

    assert created.status_code == 201
    assert created.headers["location"] == "/items/new%2F1%20%C3%BC"
    assert created.headers["etag"] == '"1"'
    assert created.headers["x-model-version"] == "v1"
    assert created.json() == {
        "item_id": "new/1 ü",
        "index_seq": 1,
        "encoding": {
            "present": ["text"],
            "missing": ["image"],
            "confidence": pytest.approx(2 / 3),
            "model_version": "v1",
        },
    }
    assert (replaced.status_code, replaced.headers["etag"]) == (200, '"2"')
    assert "location" not in replaced.headers
    assert replaced.json()["encoding"]["present"] == ["image", "text"]


async def test_get_returns_what_was_posted(client: httpx.AsyncClient) -> None:
    """An item's description comes back as it was sent, at the path Location names."""
    body = {
        "item_id": "a/b%2F?#",
        "title": "T",
        "categories": ["x", "y"],
        "attributes": {"price": 1.5, "size": 3, "new": True, "brand": "acme"},
        "available": False,
        "hidden": True,
        "expires_at": "2030-01-01T12:00:00+02:00",
    }
    location = (await client.post("/items", json=body)).headers["location"]

    found = await client.get(location)

    assert found.status_code == 200
    assert found.json() == body | {
        "index_seq": 1,
        "encoding": {
            "present": [],
            "missing": ["image", "text"],
            "confidence": pytest.approx(1 / 3),
            "model_version": "v1",
        },
    }
    assert found.headers["etag"] == '"1"'


async def test_get_knows_items_of_the_model(client: httpx.AsyncClient) -> None:
    """A trained item answers with its metadata; it has no confidence, for it was not encoded."""
    found = (await client.get("/items/i01")).json()

    assert found == {
        "item_id": "i01",
        "title": "Item 1",
        "categories": ["a", "b"],
        "attributes": {"brand": "acme"},
        "available": True,
        "hidden": False,
        "expires_at": None,
        "index_seq": 0,
        "encoding": {"present": ["text"], "missing": ["image"], "confidence": None, "model_version": "v1"},
    }


@pytest.mark.parametrize("item_id", [".", "..", "a/../b", "ü /?#", "%2E"])
async def test_location_leads_to_the_item(client: httpx.AsyncClient, item_id: str) -> None:
    """Also for ids that are directories to those who resolve paths."""
    created = await client.post("/items", json={"item_id": item_id})

    location = created.headers["location"]
    assert not {".", ".."} & set(location.split("/"))
    assert (await client.get(location)).json()["item_id"] == item_id


async def test_delete_is_final(client: httpx.AsyncClient) -> None:
    """A deleted item is unknown to every route, a second delete included; a post makes it anew."""
    first = await client.delete("/items/i03")
    again = await client.delete("/items/i03")
    found = await client.get("/items/i03")
    created = await client.post("/items", json={"item_id": "i03"})

    assert (first.status_code, first.content) == (204, b"")
    assert again.status_code == found.status_code == 404
    assert found.json()["type"] == "urn:i3rec:problem:unknown-item"
    assert created.status_code == 201


INVALID = {
    "unknown modality": ({"modalities": {"so/und": [1.0]}}, "/modalities/so~1und"),
    "wrong dimension": ({"modalities": {"text": [1.0]}}, "/modalities/text"),
    "no numbers": ({"modalities": {"text": []}}, "/modalities/text"),
    "NaN": ({"modalities": {"text": [1.0, float("nan"), 0.0, 0.0]}}, "/modalities/text/1"),
    "Infinity": ({"modalities": {"text": [1.0, 0.0, float("-inf"), 0.0]}}, "/modalities/text/2"),
    "too large for float32": ({"modalities": {"text": [1e39, 0.0, 0.0, 0.0]}}, "/modalities/text/0"),
    "a string among numbers": ({"modalities": {"text": [1.0, "2", 0.0, 0.0]}}, "/modalities/text/1"),
    "a boolean among numbers": ({"modalities": {"text": [1.0, True, 0.0, 0.0]}}, "/modalities/text/1"),
    "null": ({"modalities": {"text": None}}, "/modalities/text"),
    "base64 garbage": ({"modalities": {"text": {"embedding_b64": "?"}}}, "/modalities/text/embedding_b64"),
    "base64 beyond ASCII": ({"modalities": {"text": {"embedding_b64": "ü"}}}, "/modalities/text/embedding_b64"),
    "base64 of 3 bytes": ({"modalities": {"text": {"embedding_b64": "AAAA"}}}, "/modalities/text/embedding_b64"),
    "base64 of NaN": ({"modalities": {"text": {"embedding_b64": b64([np.nan] * 4)}}}, "/modalities/text/embedding_b64"),
    "base64 of 3 numbers": ({"modalities": {"text": {"embedding_b64": b64([1, 2, 3])}}}, "/modalities/text"),
    "packed as something else": ({"modalities": {"text": {"b64": ""}}}, "/modalities/text/embedding_b64"),
    "unknown field": ({"titel": "T"}, "/titel"),
    "unknown field beyond Unicode": ({"\ud800": 1}, ""),
    "empty id": ({"item_id": ""}, "/item_id"),
    "long id": ({"item_id": "x" * 257}, "/item_id"),
    "id with a newline": ({"item_id": "a\nb"}, "/item_id"),
    "id beyond Unicode": ({"item_id": "\ud800"}, "/item_id"),
    "id that is a number": ({"item_id": 7}, "/item_id"),
    "time without zone": ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
    "time as a number": ({"expires_at": 1e9}, "/expires_at"),
    "available as a string": ({"available": "yes"}, "/available"),
    "nested attribute": ({"attributes": {"a": {}}}, "/attributes/a"),
    "infinite attribute": ({"attributes": {"a": float("inf")}}, "/attributes/a"),
}


@pytest.mark.parametrize(("part", "pointer"), INVALID.values(), ids=INVALID.keys())
async def test_post_refuses_what_is_invalid(client: httpx.AsyncClient, part: dict, pointer: str) -> None:
    """Each fault of an item gets 422 with the pointer to it, and nothing is changed."""
    body = json.dumps({"item_id": "x"} | part)

    refused = await client.post("/items", content=body, headers={"content-type": "application/json"})

    problem = refused.json()
    assert refused.status_code == 422, problem
    assert refused.headers["content-type"] == "application/problem+json"
    assert problem["errors"][0]["pointer"] == pointer, problem
    assert problem["instance"] == refused.headers["x-request-id"]
    assert (await client.get("/items/x")).status_code == 404
    assert (await client.get("/recommend/u0")).json()["index_seq"] == 0


MALFORMED = [b"{", b"", b"nonsense", b'{"item_id": "\xff"}', b"[" * 100_000, b'{"item_id": ' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("content", MALFORMED, ids=range(len(MALFORMED)))
async def test_post_refuses_what_is_no_json(client: httpx.AsyncClient, content: bytes) -> None:
    """A body that is no JSON gets 400 (an empty one 422: the body is missing)."""
    refused = await client.post("/items", content=content, headers={"content-type": "application/json"})

    assert refused.status_code == (400 if content else 422)
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
async def test_post_refuses_other_content_types(client: httpx.AsyncClient, content_type: str) -> None:
    """Only application/json is taken."""
    refused = await client.post("/items", content=b'{"item_id": "x"}', headers={"content-type": content_type})

    assert refused.status_code == 415
    assert (await client.get("/items/x")).status_code == 404


async def test_post_refuses_large_bodies(run_app: Any, settings: Settings) -> None:
    """A body above the limit gets 413, whether it announces its length or not."""
    async with run_app(settings.model_copy(update={"max_body_bytes": 100})) as running:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b" " * 50

        announced = await running.client.post("/items", json={"item_id": "x", "title": "y" * 100})
        chunked = await running.client.post("/items", content=chunks(), headers={"content-type": "application/json"})
        small = await running.client.post("/items", json={"item_id": "x"})

    assert announced.status_code == chunked.status_code == 413
    assert announced.json()["type"] == chunked.json()["type"] == "urn:i3rec:problem:body-too-large"
    assert small.status_code == 201


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/items?k=1"), ("GET", "/items/i00?k=1"), ("DELETE", "/items/i00?x=")]
)
async def test_items_refuse_query_parameters(client: httpx.AsyncClient, method: str, path: str) -> None:
    """These routes have no query, so a parameter is a mistake."""
    content = {"json": {"item_id": "x"}} if method == "POST" else {}

    refused = await client.request(method, path, **content)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/query/")
