"""``/models`` over HTTP: what there is, promoting, and going back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelStore
from service.settings import Settings

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """CURRENT is polled next to never: what the routes do, they do themselves."""
    return settings.model_copy(update={"model_poll_s": 3600.0})


async def serving(client: httpx.AsyncClient) -> str:
    """The version that answers."""
    return (await client.get("/recommend/u0")).headers["x-model-version"]


async def test_models_are_listed(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """All published versions come oldest first, beside the one that is promoted and the one that serves."""
    for version in ("v3", "v2"):
        make_version(published_store, version, promote=False)
    published_store.promote("v2")

    answer = await client.get("/models")

    assert answer.status_code == 200
    # All were created at the same time; then their names decide.
    assert answer.json() == {
        "versions": ["v1", "v2", "v3"],
        "promoted": "v2",
        "serving": "v1",
        "challenger": None,
        "failed": None,
        "trial_failed": None,
    }


async def test_empty_store_has_no_models(run_app: Any, tmp_path: Path) -> None:
    """Where nothing was published nothing is listed, activated or gone back to."""
    empty = Settings(model_store=tmp_path / "none", journal_url=f"sqlite:///{tmp_path}/j.sqlite3")
    async with run_app(empty) as running:
        listed = await running.client.get("/models")
        activated = await running.client.post("/models/v1/activate")
        back = await running.client.post("/models/rollback")

    versions, *others = listed.json().values()
    assert (versions, set(others)) == ([], {None})
    assert (activated.status_code, back.status_code) == (404, 409)


async def test_activated_version_serves(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """The answer comes when the version serves: all lists are its own, and CURRENT names it."""
    make_version(published_store, "v2", seed=1, promote=False)
    before = (await client.get("/recommend/u0")).json()["items"]

    activated = await client.post("/models/v2/activate")

    after = (await client.get("/recommend/u0")).json()
    assert activated.status_code == 200
    assert activated.json() == {"promoted": "v2", "before": "v1", "serving": "v2"}
    assert published_store.current() == "v2"
    assert after["model_version"] == await serving(client) == "v2"
    assert after["items"] != before
    for answer in (
        await client.get("/recommend/nobody"),
        await client.get("/items/i03/similar"),
        await client.post("/recommend", json={"history": ["i03"]}),
        await client.post("/recommend/batch", json={"users": ["u0"]}),
        await client.get("/readyz"),
    ):
        assert answer.headers["x-model-version"] == "v2"


async def test_first_version_can_be_activated(run_app: Any, tmp_path: Path, make_version: MakeVersion) -> None:
    """A service without a model serves from the first activation on."""
    store = ModelStore(tmp_path / "none")
    settings = Settings(model_store=store.root, journal_url=f"sqlite:///{tmp_path}/j.sqlite3", model_poll_s=3600)
    async with run_app(settings) as running:
        make_version(store, "v1", promote=False)
        unready = await running.client.get("/readyz")
        activated = await running.client.post("/models/v1/activate")

        assert unready.status_code == 503
        assert activated.json() == {"promoted": "v1", "before": None, "serving": "v1"}
        assert await serving(running.client) == "v1"


async def test_version_that_serves_can_be_activated_again(
    client: httpx.AsyncClient, published_store: ModelStore
) -> None:
    """Activating what serves changes nothing: there is still nothing to go back to."""
    again = await client.post("/models/v1/activate")

    assert (again.status_code, again.json()) == (200, {"promoted": "v1", "before": "v1", "serving": "v1"})
    assert (await client.post("/models/rollback")).status_code == 409
    assert published_store.current() == "v1"


async def test_online_data_live_on_in_another_version(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """Items, deletes and interactions of before the activation hold after it."""
    make_version(published_store, "v2", seed=1, promote=False)
    await client.post("/items", json={"item_id": "new", "modalities": {"text": [1, 2, 3, 4]}, "categories": ["a"]})
    await client.delete("/items/i09")
    await client.post("/interactions", json={"user_id": "stranger", "item_id": "i07"})

    await client.post("/models/v2/activate")

    answer = (await client.get("/recommend/stranger?strict=true")).json()
    shown = {item["item_id"] for item in answer["items"]}
    of_a = (await client.get("/recommend/stranger?category=a")).json()["items"]
    assert (answer["model_version"], answer["strategy"]) == ("v2", "personal")
    assert shown == {f"i{n:02}" for n in range(12)} - {"i07", "i09"} | {"new"}
    assert {item["item_id"] for item in of_a} == {"i01", "i03", "i05", "i11", "new"}
    assert (await client.get("/items/new")).json()["encoding"]["model_version"] == "v2"


@pytest.mark.parametrize("version", ["v2", "V1", ".hidden", "%2E%2E", "x" * 300, "v1%20", "%C3%BC"])
async def test_unknown_versions_are_not_activated(
    client: httpx.AsyncClient, published_store: ModelStore, version: str
) -> None:
    """A version the store lacks, or cannot have, gets 404; what serves stays."""
    refused = await client.post(f"/models/{version}/activate")

    assert (refused.status_code, refused.json()["type"]) == (404, "urn:i3rec:problem:unknown-model")
    assert refused.headers["content-type"] == "application/problem+json"
    assert published_store.current() == await serving(client) == "v1"


async def test_damaged_versions_are_not_promoted(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """A version with a flipped byte gets 503; what serves stays, and is what a later poll would find."""
    make_version(published_store, "v2", promote=False)
    damaged = published_store.root / "versions" / "v2" / "popularity.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")

    refused = await client.post("/models/v2/activate")

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:i3rec:problem:storage-unavailable")
    assert published_store.current() == await serving(client) == "v1"


async def test_versions_of_another_format_are_refused(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """They are sound, but not for this service: 409, as trying again is of no use."""
    make_version(published_store, "v2", promote=False)
    path = published_store.root / "versions" / "v2" / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 99'))

    refused = await client.post("/models/v2/activate")

    assert (refused.status_code, refused.json()["type"]) == (409, "urn:i3rec:problem:unreadable-model")
    assert "expected bundle format 1, found 99" in refused.json()["detail"]
    assert published_store.current() == await serving(client) == "v1"


async def test_damaged_challenger_hides_nothing_else(client: httpx.AsyncClient, published_store: ModelStore) -> None:
    """Whoever looks what is wrong sees it, and what serves."""
    (published_store.root / "CHALLENGER").write_text("garbage", encoding="utf-8")

    answer = await client.get("/models")

    assert answer.status_code == 200
    assert (answer.json()["serving"], answer.json()["challenger"]) == ("v1", None)
    assert "CHALLENGER" in answer.json()["trial_failed"]["reason"]


async def test_version_that_cannot_be_built_leaves_the_old_one_serving(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """A sound bundle whose encoder does not load is promoted, with 202; lists go on until it is rolled back."""
    make_version(published_store, "v2", encoder=b"no ONNX", promote=False)

    activated = await client.post("/models/v2/activate")
    between = await serving(client)
    failed = (await client.get("/models")).json()["failed"]
    back = await client.post("/models/rollback")

    assert (activated.status_code, activated.json()) == (202, {"promoted": "v2", "before": "v1", "serving": "v1"})
    assert (between, failed["version"]) == ("v1", "v2")
    assert "encoder.onnx" in failed["reason"]
    assert (await client.get("/models")).json()["failed"] is None
    assert (back.status_code, back.json()) == (200, {"promoted": "v1", "before": "v2", "serving": "v1"})


async def test_rollback_goes_back_step_by_step(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion
) -> None:
    """Each rollback serves the version promoted before; before the first there is none: 409."""
    for version in ("v2", "v3"):
        make_version(published_store, version, promote=False)
        await client.post(f"/models/{version}/activate")

    answers = [await client.post("/models/rollback") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert answers[0].json() == {"promoted": "v2", "before": "v3", "serving": "v2"}
    assert answers[1].json() == {"promoted": "v1", "before": "v2", "serving": "v1"}
    assert answers[2].json()["type"] == "urn:i3rec:problem:no-older-model"
    assert published_store.current() == await serving(client) == "v1"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/models?k=1"), ("POST", "/models/v2/activate?force="), ("POST", "/models/rollback?to=v1")],
)
async def test_model_routes_refuse_query_parameters(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: MakeVersion, method: str, path: str
) -> None:
    """These routes have no query, so a parameter is a mistake, and nothing is done."""
    make_version(published_store, "v2", promote=False)

    refused = await client.request(method, path)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"].startswith("/query/")
    assert published_store.current() == "v1"


async def test_model_routes_are_not_read_by_accident(client: httpx.AsyncClient, published_store: ModelStore) -> None:
    """Promoting needs a POST: a GET of the same paths gets 405 and changes nothing."""
    for path in ("/models/v1/activate", "/models/rollback"):
        refused = await client.get(path)

        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert published_store.current() == "v1"
