"""Raw texts and images on ``/items``: the model makes the features."""

import base64
import io
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model_store import ModelStore
from service.adapters import onnx_featurizer
from service.adapters.images import read_image

pytestmark = pytest.mark.anyio

Make = Callable[..., bytes]


@pytest.fixture
def texts(text_model: Make, image_model: Make) -> dict[str, tuple[str, bytes]]:
    """Featurizers of both modalities."""
    return {"text": ("text", text_model({"hello": 1.0, "sad": -1.0})), "image": ("image", image_model())}


@pytest.fixture
def store(tmp_path: Any, make_version: Any, texts: Any) -> ModelStore:
    """A store whose v1 names them."""
    store = ModelStore(tmp_path / "models")
    make_version(store, "v1", featurizers=texts)
    return store


@pytest.fixture
def published_store(store: ModelStore) -> ModelStore:
    """The store the settings name, and so the fixture ``client``."""
    return store


def picture(colour: Any) -> dict[str, str]:
    """An image of one colour as it is posted."""
    data = io.BytesIO()
    Image.new("RGB", (9, 5), colour).save(data, "PNG")
    return {"image_b64": base64.b64encode(data.getvalue()).decode()}


async def features_of(client: httpx.AsyncClient, item_id: str) -> dict[str, list[float]]:
    """What the catalogue holds of an item."""
    page = (await client.get("/items?features=true&limit=100")).json()
    packed = next(item["modalities"] for item in page["items"] if item["item_id"] == item_id)
    return {
        name: np.frombuffer(base64.b64decode(value["embedding_b64"]), "<f4").tolist() for name, value in packed.items()
    }


async def test_raw_items_are_as_those_of_their_features(client: httpx.AsyncClient) -> None:
    """They are encoded alike, found at once, and say what was present."""
    raw = await client.post(
        "/items", json={"item_id": "raw", "modalities": {"text": {"text": "hello"}, "image": picture((200, 100, 0))}}
    )
    await client.post(
        "/items", json={"item_id": "numbers", "modalities": {"text": [1.0] * 4, "image": [200.0, 100.0, 0.0]}}
    )

    assert (raw.status_code, raw.json()["encoding"]["present"]) == (201, ["image", "text"])
    assert await features_of(client, "raw") == await features_of(client, "numbers")
    answer = (await client.post("/recommend", json={"history": ["i01"], "k": 100})).json()
    scores = {item["item_id"]: item["score"] for item in answer["items"]}
    assert scores["raw"] == pytest.approx(scores["numbers"])


async def test_raw_parts_can_come_late_and_change(client: httpx.AsyncClient) -> None:
    """A patch adds, replaces and removes them beside vectors."""
    await client.post("/items", json={"item_id": "x", "modalities": {"text": {"text": "hello"}}})
    await client.patch("/items/x", json={"modalities": {"image": picture("blue")}})
    assert await features_of(client, "x") == {"text": [1.0] * 4, "image": [0.0, 0.0, 255.0]}
    await client.patch("/items/x", json={"modalities": {"text": {"text": "sad"}, "image": [1.0, 2.0, 3.0]}})
    assert await features_of(client, "x") == {"text": [-1.0] * 4, "image": [1.0, 2.0, 3.0]}
    await client.patch("/items/x", json={"modalities": {"text": None}})
    assert await features_of(client, "x") == {"image": [1.0, 2.0, 3.0]}


async def test_batches_take_raw_parts(client: httpx.AsyncClient) -> None:
    """One that cannot be read does not stop the others."""
    items = [
        {"item_id": "a", "modalities": {"text": {"text": "hello"}}},
        {"item_id": "b", "modalities": {"image": {"image_b64": base64.b64encode(b"no image").decode()}}},
        {"item_id": "c", "modalities": {"image": picture("red")}},
    ]

    answer = (await client.post("/items/batch", json=items)).json()

    assert [result["status"] for result in answer["results"]] == [201, 422, 201]
    assert answer["results"][1]["error"]["errors"][0]["pointer"] == "/modalities/image/image_b64"


async def test_images_that_nobody_waits_for_are_not_read(
    run_app: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """504 after the deadline; the batch's other images are left, and nothing is written."""
    read = []

    def slowly(*request: Any) -> Any:
        read.append(request)
        time.sleep(0.2)
        return read_image(*request)

    monkeypatch.setattr(onnx_featurizer, "read_image", slowly)
    items = [{"item_id": f"x{n}", "modalities": {"image": picture("red")}} for n in range(6)]
    async with run_app(settings.model_copy(update={"deadline_s": 0.3})) as running:
        answer = await running.client.post("/items/batch", json=items)
        listed = await running.client.get("/items/x0")

    assert (answer.status_code, answer.json()["type"]) == (504, "urn:i3rec:problem:deadline-exceeded")
    assert listed.status_code == 404
    assert len(read) <= 3


@pytest.mark.parametrize(
    ("modalities", "pointer"),
    [
        ({"text": {"image_b64": "aGVsbG8="}}, "/modalities/text"),
        ({"image": {"text": "hello"}}, "/modalities/image"),
        ({"sound": {"text": "hello"}}, "/modalities/sound"),
        ({"image": {"image_b64": "?"}}, "/modalities/image/image_b64"),
        ({"image": {"image_b64": ""}}, "/modalities/image/image_b64"),
        ({"image": {"image_b64": 7}}, "/modalities/image/image_b64"),
        ({"text": {"text": 7}}, "/modalities/text/text"),
        ({"text": {"text": None}}, "/modalities/text/text"),
        ({"text": {"text": "x" * 100_001}}, "/modalities/text/text"),
        ({"text": {"text": "x", "more": 1}}, "/modalities/text/more"),
        ({"text": {"text": "x", "embedding_b64": ""}}, "/modalities/text/embedding_b64"),
        ({"text": {}}, "/modalities/text/embedding_b64"),
        ({"text": "hello"}, "/modalities/text"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_cannot_be_read_changes_nothing(
    client: httpx.AsyncClient, method: str, modalities: Any, pointer: str
) -> None:
    """422 with the place."""
    await client.post("/items", json={"item_id": "x", "title": "T"})
    body = {"modalities": modalities} | ({"item_id": "x"} if method == "POST" else {})

    refused = await client.request(method, "/items" if method == "POST" else "/items/x", json=body)

    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/items/x")).json()["index_seq"] == 1


async def test_surrogates_are_refused(client: httpx.AsyncClient) -> None:
    """Half a character is no text."""
    body = b'{"item_id": "x", "modalities": {"text": {"text": "\\ud800"}}}'
    refused = await client.post("/items", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code in {400, 422}


async def test_models_without_featurizers_ask_for_numbers(
    run_app: Any, settings: Any, store: ModelStore, make_version: Any
) -> None:
    """The answer says how many."""
    make_version(store, "v2")
    async with run_app(settings) as running:
        refused = await running.client.post("/items", json={"item_id": "x", "modalities": {"text": {"text": "hello"}}})
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {"pointer": "/modalities/text", "detail": "the model makes no features of its own here: expected 4 numbers"}
    ]


async def test_features_hold_only_under_the_featurizer_that_made_them(
    run_app: Any, settings: Any, store: ModelStore, make_version: Any, texts: Any, text_model: Make
) -> None:
    """Another model with the same featurizer uses them; one with another does without; vectors it uses always."""
    body = {"item_id": "x", "modalities": {"text": {"text": "hello"}, "image": [1.0, 2.0, 3.0]}}
    make_version(store, "same", featurizers=texts, promote=False)
    make_version(store, "other", featurizers={"text": ("text", text_model({"hello": 9.0}))}, promote=False)
    async with run_app(settings) as running:
        client = running.client
        await client.post("/items", json=body)
        present = {}
        for version in ("same", "other", "v1"):
            await client.post(f"/models/{version}/activate")
            present[version] = (await client.get("/items/x")).json()["encoding"]["present"]
        await client.post("/models/other/activate")
        assert (await features_of(client, "x")).keys() == {"image"}
        explained = await client.post("/recommend", json={"history": ["i01"], "k": 50, "explain": True})
        reasons = {item["item_id"]: item["reasons"] for item in explained.json()["items"]}
        assert reasons["x"]["modalities"].keys() == {"image"}
        await client.post("/items", json=body)
        present["posted again"] = (await client.get("/items/x")).json()["encoding"]["present"]

    both = ["image", "text"]
    assert present == {"same": both, "other": ["image"], "v1": both, "posted again": both}


async def test_raw_items_outlive_the_process(run_app: Any, settings: Any) -> None:
    """After a restart all is as it was, and posting the same again keeps what is known."""
    body = {"item_id": "x", "modalities": {"text": {"text": "hello"}, "image": picture("green")}}
    async with run_app(settings) as running:
        await running.client.post("/items", json=body)
        before = await features_of(running.client, "x")
    async with run_app(settings) as running:
        again = await running.client.post("/items", json=body)
        assert (again.status_code, await features_of(running.client, "x")) == (200, before)
        assert again.json()["encoding"]["present"] == ["image", "text"]
