"""``PATCH /items/{item_id}`` over HTTP."""

import base64
import json
from typing import Any

import anyio
import httpx
import numpy as np
import pytest

from service.domain import PutItem
from service.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = [0.5, -1.0, 2.0, 0.25]
IMAGE = [1.0, 2.0, 3.0]
PACKED = base64.b64encode(np.array(IMAGE, dtype="<f4").tobytes()).decode()


async def test_late_modality_is_merged_and_encoded(running: Any) -> None:
    """A modality that comes later joins what is there: the item then reads as if posted with both at once."""
    await running.client.post("/items", json={"item_id": "a/b", "modalities": {"text": TEXT}, "title": "T"})
    both = {"text": TEXT, "image": IMAGE}
    whole = await running.client.post("/items", json={"item_id": "whole", "modalities": both})

    patched = await running.client.patch("/items/a%2Fb", json={"modalities": {"image": {"embedding_b64": PACKED}}})

    assert (patched.status_code, patched.headers["etag"], patched.headers["x-model-version"]) == (200, '"3"', "v1")
    assert patched.json() == {"item_id": "a/b", "index_seq": 3, "encoding": whole.json()["encoding"]}
    assert (await running.client.get("/items/a/b")).json()["title"] == "T"
    servable = running.services.handle.current
    np.testing.assert_array_equal(servable.vector("a/b"), servable.vector("whole"))


BEFORE = {
    "item_id": "x",
    "modalities": {"text": TEXT, "image": IMAGE},
    "title": "T",
    "categories": ["a", "b"],
    "attributes": {"price": 1, "brand": "acme"},
    "available": False,
    "hidden": True,
    "expires_at": "2030-01-01T12:00:00+02:00",
}
PATCHES: dict[str, tuple[dict, dict]] = {
    "title": ({"title": "New"}, {"title": "New"}),
    "title removed": ({"title": None}, {"title": None}),
    "lists are replaced": ({"categories": ["c"]}, {"categories": ["c"]}),
    "list removed": ({"categories": None}, {"categories": []}),
    "attribute added": ({"attributes": {"size": 3}}, {"attributes": {"price": 1, "brand": "acme", "size": 3}}),
    "attribute removed": ({"attributes": {"price": None, "x": None}}, {"attributes": {"brand": "acme"}}),
    "false is a value": ({"attributes": {"price": False}}, {"attributes": {"price": False, "brand": "acme"}}),
    "attributes removed": ({"attributes": None}, {"attributes": {}}),
    "no attributes": ({"attributes": {}}, {}),
    "flags": ({"available": True, "hidden": False}, {"available": True, "hidden": False}),
    "flags removed": ({"available": None, "hidden": None}, {"available": True, "hidden": False}),
    "time": ({"expires_at": "2031-01-01T00:00:00Z"}, {"expires_at": "2031-01-01T00:00:00+00:00"}),
    "time removed": ({"expires_at": None}, {"expires_at": None}),
}


@pytest.mark.parametrize(("patch", "changed"), PATCHES.values(), ids=PATCHES.keys())
async def test_fields_are_merged(client: httpx.AsyncClient, patch: dict, changed: dict) -> None:
    """What a patch gives changes, what it leaves out stays, null removes; modalities stay as they were."""
    await client.post("/items", json=BEFORE)
    before = (await client.get("/items/x")).json()

    patched = await client.patch("/items/x", json=patch)

    assert patched.status_code == 200, patched.text
    assert (await client.get("/items/x")).json() == before | changed | {"index_seq": 2}


@pytest.mark.parametrize(
    ("patch", "present"),
    [
        ({"modalities": {"text": None, "sound": None}}, ["image"]),
        ({"modalities": {"text": None, "image": None}}, []),
        ({"modalities": None}, []),
        ({"modalities": {}}, ["image", "text"]),
        ({"modalities": {"text": TEXT, "image": None}}, ["text"]),
    ],
)
async def test_modalities_are_removed_by_null(client: httpx.AsyncClient, patch: dict, present: list[str]) -> None:
    """Null for a modality takes it away, null for all of them takes all; one that is not there may be removed too."""
    await client.post("/items", json=BEFORE)

    patched = await client.patch("/items/x", json=patch, headers={"content-type": "application/merge-patch+json"})

    assert patched.json()["encoding"]["present"] == present


async def test_empty_patch_changes_nothing(client: httpx.AsyncClient) -> None:
    """It is answered with the item's state, and writes no record."""
    await client.post("/items", json=BEFORE)

    posted = await client.patch("/items/x", json={})
    trained = await client.patch("/items/i01", json={})

    assert (posted.status_code, posted.json()["index_seq"], posted.headers["etag"]) == (200, 1, '"1"')
    assert (trained.status_code, trained.headers["etag"]) == (200, '"0-v1"')
    assert trained.json()["encoding"]["confidence"] is None
    assert (await client.get("/recommend/u0")).json()["index_seq"] == 1


async def test_trained_items_keep_the_features_of_the_model(running: Any) -> None:
    """An item only the model knows is patched from the model's features and metadata, and written as a whole."""
    bundle = running.services.handle.current.bundle
    features = bundle.features["text"][bundle.items.row("i01")]

    patched = await running.client.patch("/items/i01", json={"modalities": {"image": IMAGE}, "title": "New"})

    assert patched.json()["encoding"]["present"] == ["image", "text"]
    found = (await running.client.get("/items/i01")).json()
    assert (found["title"], found["categories"], found["attributes"]) == ("New", ["a", "b"], {"brand": "acme"})
    record = running.services.catalog._journal.find("i01")  # white box: features come out of no route
    assert isinstance(record.entry, PutItem)
    np.testing.assert_array_equal(record.entry.item.modalities["text"], features)


async def test_patches_at_the_same_time_all_hold(client: httpx.AsyncClient) -> None:
    """Twenty patches of different attributes at once leave all twenty attributes."""
    await client.post("/items", json={"item_id": "x", "modalities": {"text": TEXT}})

    async def patch(number: int) -> None:
        answer = await client.patch("/items/x", json={"attributes": {f"a{number}": number}})
        assert answer.status_code == 200

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(patch, number)

    found = (await client.get("/items/x")).json()
    assert found["attributes"] == {f"a{number}": number for number in range(20)}
    assert found["encoding"]["present"] == ["text"]
    assert found["index_seq"] == 21


async def test_patches_survive_a_restart(run_app: Any, settings: Settings) -> None:
    """A new app on the same journal knows the merged item, and encodes it from all its modalities."""
    async with run_app(settings) as first:
        await first.client.post("/items", json={"item_id": "x", "modalities": {"text": TEXT}})
        answer = await first.client.patch("/items/x", json={"modalities": {"image": IMAGE}})
        vector = first.services.handle.current.vector("x")

    async with run_app(settings) as second:
        found = (await second.client.get("/items/x")).json()
        again = second.services.handle.current.vector("x")

    assert found["encoding"] == answer.json()["encoding"]
    assert found["encoding"]["present"] == ["image", "text"]
    np.testing.assert_allclose(again, vector, rtol=1e-6)


async def test_modalities_of_an_older_model_are_kept(running: Any, make_version: Any, published_store: Any) -> None:
    """A modality the current model does not know stays with the item and is in nobody's way."""
    await running.client.post("/items", json=BEFORE)
    make_version(published_store, "v2", modalities={"text": 4})
    with anyio.fail_after(10):
        while (await running.client.get("/readyz")).json()["model_version"] != "v2":  # noqa: ASYNC110 - asks over HTTP
            await anyio.sleep(0.01)

    patched = await running.client.patch("/items/x", json={"title": "New"})
    refused = await running.client.patch("/items/x", json={"modalities": {"image": IMAGE}})

    assert (patched.status_code, patched.json()["encoding"]["present"]) == (200, ["text"])
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/modalities/image")
    kept = running.services.catalog._journal.find("x").entry.item.modalities  # white box: no route shows features
    assert set(kept) == {"image", "text"}


async def test_unknown_and_deleted_items_cannot_be_patched(client: httpx.AsyncClient) -> None:
    """There is nothing to merge into: 404, and no item comes of it."""
    await client.delete("/items/i03")

    for item_id in ("nobody", "i03"):
        refused = await client.patch(f"/items/{item_id}", json={"title": "T"})
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:i3rec:problem:unknown-item")
        assert (await client.get(f"/items/{item_id}")).status_code == 404


INVALID = {
    "unknown modality": ({"modalities": {"so/und": [1.0]}}, "/modalities/so~1und"),
    "wrong dimension": ({"modalities": {"image": [1.0]}}, "/modalities/image"),
    "NaN": ({"modalities": {"text": [1.0, float("nan"), 0.0, 0.0]}}, "/modalities/text/1"),
    "too large for float32": ({"modalities": {"text": [1e39, 0.0, 0.0, 0.0]}}, "/modalities/text/0"),
    "a string among numbers": ({"modalities": {"text": [1.0, "2", 0.0, 0.0]}}, "/modalities/text/1"),
    "text": ({"modalities": {"text": "abc"}}, "/modalities/text"),
    "base64 garbage": ({"modalities": {"text": {"embedding_b64": "?"}}}, "/modalities/text/embedding_b64"),
    "unknown field": ({"titel": "T"}, "/titel"),
    "the id": ({"item_id": "x"}, "/item_id"),
    "time without zone": ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
    "available as a string": ({"available": "yes"}, "/available"),
    "nested attribute": ({"attributes": {"a": {}}}, "/attributes/a"),
    "too many attributes together": ({"attributes": {f"a{n}": n for n in range(99)}}, "/attributes"),
    "an array": ([], ""),
    "null": (None, ""),
}


@pytest.mark.parametrize(("patch", "pointer"), INVALID.values(), ids=INVALID.keys())
async def test_invalid_patches_are_refused(client: httpx.AsyncClient, patch: Any, pointer: str) -> None:
    """Each fault gets 422 with the pointer to it, and the item stays as it was."""
    await client.post("/items", json=BEFORE)
    before = (await client.get("/items/x")).json()

    refused = await client.patch("/items/x", content=json.dumps(patch), headers={"content-type": "application/json"})

    assert refused.status_code == 422, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["errors"][0]["pointer"] == pointer, refused.json()
    assert (await client.get("/items/x")).json() == before


async def test_other_bodies_are_refused(client: httpx.AsyncClient) -> None:
    """What is no JSON gets 400, another content type 415, a query 422."""
    json_type = {"content-type": "application/merge-patch+json"}

    assert (await client.patch("/items/i00", content=b"{", headers=json_type)).status_code == 400
    for content_type in ("text/plain", "application/json-patch+json", ""):
        refused = await client.patch("/items/i00", content=b"{}", headers={"content-type": content_type})
        assert refused.status_code == 415
    assert (await client.patch("/items/i00?k=1", json={})).status_code == 422


async def test_encoder_failure_changes_nothing(client: httpx.AsyncClient) -> None:
    """A sound patch the encoder cannot take gives 500, and the item stays."""
    await client.post("/items", json=BEFORE)

    refused = await client.patch("/items/x", json={"modalities": {"text": [3e38] * 4}})

    assert (refused.status_code, refused.json()["type"]) == (500, "urn:i3rec:problem:encoding-failed")
    assert (await client.get("/items/x")).json()["index_seq"] == 1


async def test_storage_failure_is_503(running: Any) -> None:
    """Where the journal gives and takes nothing, a patch says so, of trained and of posted items."""
    await running.client.post("/items", json=BEFORE)
    running.services.catalog._journal.close()  # white box: the shortest way to a journal that refuses

    for item_id in ("x", "i00"):
        assert (await running.client.patch(f"/items/{item_id}", json={"title": "T"})).status_code == 503
