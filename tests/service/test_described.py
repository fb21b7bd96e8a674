"""What an item is described by where a model with other features than its record's has come since."""

from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from model_store import Bundle, ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio

ITEM = "i04"  # has an image and a text
NINES = [9.0] * 4


@pytest.fixture
async def client(
    run_app: Any, settings: Settings, published_store: ModelStore, make_version: Callable[..., None]
) -> AsyncIterator[httpx.AsyncClient]:
    """A version serves that knows images beside texts; the journal speaks of the item since one that knew no images."""
    make_version(published_store, "text", modalities={"text": 4})
    make_version(published_store, "both", seed=1, promote=False)
    async with run_app(settings.model_copy(update={"model_poll_s": 3600.0})) as running:
        assert (await running.client.patch(f"/items/{ITEM}", json={"attributes": {"price": 1}})).status_code == 200
        assert (await running.client.post("/models/both/activate")).status_code == 200
        yield running.client


@pytest.fixture
def bundle(published_store: ModelStore, client: httpx.AsyncClient) -> Bundle:  # noqa: ARG001 - publishes it
    """The version that serves."""
    return published_store.load("both")


async def score(client: httpx.AsyncClient) -> float:
    """Of the item, for a user."""
    answer = (await client.get("/recommend/u0", params={"k": 12})).json()
    return next(float(item["score"]) for item in answer["items"] if item["item_id"] == ITEM)


async def told(client: httpx.AsyncClient) -> dict[str, Any]:
    """The item as the catalogue tells of it, features included."""
    page = (await client.get("/items", params={"features": "true", "limit": 100})).json()
    return next(item for item in page["items"] if item["item_id"] == ITEM)


def features_of(bundle: Bundle) -> dict[str, list[float]]:
    """What the version was trained with."""
    row = bundle.items.row(ITEM)
    return {name: np.asarray(table[row]).tolist() for name, table in bundle.features.items()}


async def test_a_new_modality_of_the_model_survives_a_patch(client: httpx.AsyncClient) -> None:
    """What is merged into is what the item is served by: the image stays, though no record has it."""
    patched = (await client.patch(f"/items/{ITEM}", json={"modalities": {"text": NINES}})).json()

    assert (patched["encoding"]["present"], patched["encoding"]["missing"]) == (["image", "text"], [])


async def test_a_patch_of_words_leaves_the_trained_vector(client: httpx.AsyncClient, bundle: Bundle) -> None:
    """Also the second time, when the record has the features of the new model."""
    before = await score(client)

    for price in (2, 3):
        await client.patch(f"/items/{ITEM}", json={"attributes": {"price": price}})

        assert (
            await score(client)
            == before
            == pytest.approx(
                float(bundle.user_embeddings[0] @ bundle.item_embeddings[bundle.items.row(ITEM)]), rel=1e-5
            )
        )


@pytest.mark.parametrize("way", ["post", "batch"])
async def test_the_features_of_the_model_are_no_change(client: httpx.AsyncClient, bundle: Bundle, way: str) -> None:
    """A catalogue that is posted every night, with exactly what the model was trained with."""
    before = await score(client)
    item = {"item_id": ITEM, "modalities": features_of(bundle)}

    answer = await (client.post("/items", json=item) if way == "post" else client.post("/items/batch", json=[item]))

    assert answer.is_success
    assert await score(client) == before


async def test_the_catalogue_tells_the_features_it_reports(client: httpx.AsyncClient, bundle: Bundle) -> None:
    """An export has the image as well."""
    found = await told(client)

    assert found["encoding"]["present"] == ["image", "text"]
    told_of = {name: b64decode(vector["embedding_b64"]) for name, vector in found["modalities"].items()}
    assert told_of == {name: np.array(vector, "<f4").tobytes() for name, vector in features_of(bundle).items()}


async def test_the_model_of_before_still_finds_its_own(client: httpx.AsyncClient) -> None:
    """What was written under the newer model is encoded, or stands, under the older one."""
    await client.patch(f"/items/{ITEM}", json={"attributes": {"price": 2}})
    assert (await client.post("/models/rollback")).json()["serving"] == "text"

    assert (await client.get(f"/items/{ITEM}")).json()["encoding"]["present"] == ["text"]
    before = await score(client)
    await client.patch(f"/items/{ITEM}", json={"attributes": {"price": 3}})
    assert await score(client) == before
