"""Health, metrics, and what holds for every route."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import sqlalchemy

from model_store import ModelStore
from service.settings import Settings

MakeVersion = Callable[..., None]

pytestmark = pytest.mark.anyio


async def test_ready_service_says_so(client: httpx.AsyncClient) -> None:
    """With a model the service is alive and ready."""
    ready = await client.get("/readyz")

    assert (await client.get("/livez")).json() == {"status": "alive"}
    assert ready.json() == {"status": "ready", "model_version": "v1", "degraded": []}
    assert ready.headers["x-model-version"] == "v1"


async def test_service_without_model_waits_for_one(run_app: Any, tmp_path: Path, make_version: MakeVersion) -> None:
    """Nothing promoted: alive, not ready, routes answer 503 and when to come back; once promoted, all of it works."""
    store = ModelStore(tmp_path / "none")
    settings = Settings(model_store=store.root, journal_url=f"sqlite:///{tmp_path}/j.sqlite3", model_poll_s=0.01)
    async with run_app(settings) as running:
        client = running.client

        assert (await client.get("/livez")).status_code == 200
        for response in (
            await client.get("/readyz"),
            await client.get("/recommend/u0"),
            await client.get("/items/i00"),
            await client.delete("/items/i00"),
            await client.post("/items", json={"item_id": "x"}),
        ):
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert response.headers["content-type"] == "application/problem+json"
            assert "no model version has been promoted" in response.json()["detail"]

        make_version(store, "v1")
        with anyio.fail_after(30):
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - asks over HTTP
                await anyio.sleep(0.01)
        assert (await client.post("/items", json={"item_id": "x"})).status_code == 201


async def test_lost_cache_is_degraded_not_unready(run_app: Any, settings: Settings, redis_server: Any) -> None:
    """With Redis gone the service goes on in full and says what is degraded."""
    async with run_app(settings.model_copy(update={"redis_url": redis_server.url})) as running:
        client = running.client
        assert (await client.post("/items", json={"item_id": "a"})).status_code == 201
        assert (await client.get("/readyz")).json()["degraded"] == []

        redis_server.kill()

        assert (await client.post("/items", json={"item_id": "b"})).status_code == 201
        assert (await client.get("/readyz")).json() == {
            "status": "ready",
            "model_version": "v1",
            "degraded": ["cache"],
        }
        assert (await client.get("/recommend/u0")).json()["degraded"] == ["cache"]
        assert "i3rec_cache_healthy 0.0" in (await client.get("/metrics")).text


async def test_metrics_count_by_template(client: httpx.AsyncClient) -> None:
    """Requests are counted under route templates and known methods, whatever was asked for."""
    await client.post("/items", json={"item_id": "a", "modalities": {"text": [1, 2, 3, 4]}})
    await client.post("/items", json={"item_id": "b"})
    await client.delete("/items/b")
    await client.get("/items/some/where")
    await client.get("/no/such/path")
    await client.request("BREW", "/items/a")
    await client.get("/recommend/u0")

    text = (await client.get("/metrics")).text

    for line in (
        'i3rec_http_requests_total{method="POST",route="/items",status="201"} 2.0',
        'i3rec_http_requests_total{method="GET",route="/items/{item_id}",status="404"} 1.0',
        'i3rec_http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'i3rec_http_requests_total{method="other",route="/items/{item_id}",status="405"} 1.0',
        'i3rec_items_posted_total{present="text"} 1.0',
        'i3rec_items_posted_total{present="none"} 1.0',
        'i3rec_recommendations_total{strategy="personal"} 1.0',
        'i3rec_stage_seconds_count{stage="encode"} 2.0',
        'i3rec_stage_seconds_count{stage="journal"} 3.0',
        'i3rec_stage_seconds_count{stage="index"} 3.0',
        'i3rec_stage_seconds_count{stage="search"} 1.0',
        'i3rec_model_info{model_version="v1"} 1.0',
        "i3rec_index_items 13.0",
        "i3rec_online_items 1.0",
        "i3rec_index_seq 3.0",
        "i3rec_cache_healthy 1.0",
        "i3rec_journal_batch_records_count 3.0",
    ):
        assert line in text, line
    assert "some/where" not in text
    assert "no/such" not in text


async def test_request_ids_are_echoed_or_made(client: httpx.AsyncClient) -> None:
    """A sane id comes back, anything else is replaced."""
    for given, echoed in (("abc 123", True), ("x" * 128, True), ("x" * 129, False), ("", False), (b"\xff\xfe", False)):
        answer = await client.get("/livez", headers={"X-Request-Id": given})

        made = answer.headers["x-request-id"]
        assert (made == given) is echoed
        assert made


async def test_unknown_routes_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    """The framework's own refusals are problem documents too."""
    missing = await client.get("/nothing")
    method = await client.put("/items", json={})

    assert (missing.status_code, missing.json()["type"]) == (404, "urn:i3rec:problem:no-such-route")
    assert (method.status_code, method.json()["type"]) == (405, "urn:i3rec:problem:method-not-allowed")
    assert method.headers["allow"] == "GET, HEAD, POST"
    assert method.headers["content-type"] == "application/problem+json"


async def test_failures_hide_their_insides(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is a 500 problem with the request id and without its message."""

    def fail(_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(running.services.handle.current, "get", fail, raising=True)

    answer = await running.client.get("/items/i00")

    assert answer.status_code == 500
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_storage_failure_is_503(running: Any) -> None:
    """Where the journal takes nothing, writes answer 503 with Retry-After; reads go on."""
    running.services.catalog._journal.close()  # white box: the shortest way to a journal that refuses

    answer = await running.client.post("/items", json={"item_id": "x"})

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:i3rec:problem:storage-unavailable")
    assert "retry-after" in answer.headers
    assert (await running.client.get("/recommend/u0")).status_code == 200


async def test_encoder_failure_is_500_and_changes_nothing(client: httpx.AsyncClient) -> None:
    """A sound item the encoder cannot take gives 500 without the engine's words."""
    answer = await client.post("/items", json={"item_id": "x", "modalities": {"text": [3e38] * 4}})

    assert (answer.status_code, answer.json()["type"]) == (500, "urn:i3rec:problem:encoding-failed")
    assert (await client.get("/items/x")).status_code == 404


async def test_openapi_declares_every_status(client: httpx.AsyncClient) -> None:
    """The document names each route's statuses, its problems as problem+json, and every schema it refers to."""
    document = (await client.get("/openapi.json")).json()

    assert (await client.get("/openapi.json")).json() == document  # asked again, it says nothing twice
    declared = {
        f"{method} {path}": set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    with_bodies = {
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    assert {route for route, statuses in declared.items() if "408" in statuses} == with_bodies
    guard = {"401", "403", "413", "429", "500", "504"}
    assert {route for route, statuses in declared.items() if not guard <= statuses} == {
        "get /livez", "get /readyz", "get /metrics"
    }  # fmt: skip
    assert all("409" in statuses for route, statuses in declared.items() if route.startswith("post"))
    assert {route: sorted(statuses - guard - {"408", "409"}) for route, statuses in declared.items()} == {
        "get /items": ["200", "422", "503"],
        "post /items": ["200", "201", "400", "412", "415", "422", "503", "507"],
        "post /items/batch": ["207", "400", "415", "422", "503"],
        "patch /items/{item_id}": ["200", "400", "404", "412", "415", "422", "503", "507"],
        "get /items/{item_id}": ["200", "304", "404", "422", "503"],
        "delete /items/{item_id}": ["204", "404", "412", "422", "503", "507"],
        "get /recommend/{user_id}": ["200", "404", "422", "503"],
        "post /recommend": ["200", "400", "415", "422", "503"],
        "post /recommend/batch": ["200", "400", "404", "415", "422", "503"],
        "get /items/{item_id}/similar": ["200", "404", "422", "503"],
        "post /interactions": ["202", "400", "415", "422", "503", "507"],
        "delete /users/{user_id}": ["204", "422", "503", "507"],
        "get /models": ["200", "422", "503"],
        "post /models/{version}/activate": ["200", "202", "404", "422", "503"],
        "post /models/rollback": ["200", "202", "422", "503"],
        "get /livez": ["200"],
        "get /readyz": ["200", "503"],
        "get /metrics": ["200"],
    }
    refused = document["paths"]["/items"]["post"]["responses"]["422"]["content"]
    assert list(refused) == ["application/problem+json"]
    assert refused["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    schemas = document["components"]["schemas"]
    assert {"Problem", "ProblemError", "ItemBody", "ItemOut", "Recommendations"} <= set(schemas)
    assert "HTTPValidationError" not in schemas


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/items/i00", "/items", "/recommend/u0", "/nothing"])
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    """Probes ask so; the metrics tell it from GET, by the same route."""
    got, asked = await client.get(path), await client.head(path)

    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert asked.headers.get("etag") == got.headers.get("etag")
    assert asked.headers["content-type"] == got.headers["content-type"]


async def test_head_is_counted_by_its_route(client: httpx.AsyncClient) -> None:
    """As any request is."""
    await client.head("/items/i00")

    metrics = (await client.get("/metrics")).text
    assert 'i3rec_http_requests_total{method="HEAD",route="/items/{item_id}",status="200"} 1.0' in metrics


async def test_wrong_methods_are_told_the_right_ones(client: httpx.AsyncClient) -> None:
    """All of them, also where several routes share a path."""
    found = {
        path: (await client.put(path)).headers["allow"]
        for path in ("/items/x", "/items", "/models/rollback", "/readyz")
    }

    assert found == {
        "/items/x": "DELETE, GET, HEAD, PATCH",
        "/items": "GET, HEAD, POST",
        "/models/rollback": "POST",
        "/readyz": "GET, HEAD",
    }


async def test_the_bare_address_leads_to_the_docs(client: httpx.AsyncClient) -> None:
    """Where a browser begins."""
    page = await client.get("/", follow_redirects=True)

    assert (page.status_code, page.url.path) == (200, "/docs")


async def test_docs_need_no_other_host(client: httpx.AsyncClient) -> None:
    """The page and all it loads come from the service itself."""
    page = await client.get("/docs")

    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) >= 2
    for asset in assets:
        assert asset.startswith("/")
        assert (await client.get(asset)).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect"])
async def test_docs_run_no_scripts_but_their_own(client: httpx.AsyncClient, path: str) -> None:
    """Browsers are told the digest of what stands in the page, and to take the rest from the service alone."""
    page = await client.get(path)

    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    digests = [b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(digests) == 1
    assert policy["script-src"] == f"'self' 'sha256-{digests[0]}'"
    assert (policy["default-src"], policy["frame-ancestors"], policy["connect-src"]) == ("'none'", "'none'", "'self'")


async def test_full_disk_stops_writing_and_nothing_else(running: Any) -> None:
    """507 for every write, nothing is changed, lists go on; with room again so do writes."""
    journal: Any = running.services.catalog._journal
    await running.client.post("/items", json={"item_id": "before"})
    with journal._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={limited}")

    limited = pages
    sqlalchemy.event.listen(journal._engine, "connect", limit)
    journal._engine.dispose()
    body = {"item_id": "large", "title": "x" * 1000, "attributes": {str(n): "y" * 4000 for n in range(20)}}
    refused = await running.client.post("/items", json=body)
    batch = await running.client.post("/items/batch", json=[body])
    lists = await running.client.get("/recommend/u0")
    limited = 1 << 20
    journal._engine.dispose()
    accepted = await running.client.post("/items", json=body)

    assert (refused.status_code, refused.json()["type"]) == (507, "urn:i3rec:problem:storage-full")
    assert [result["status"] for result in batch.json()["results"]] == [507]
    assert lists.status_code == 200
    assert accepted.status_code == 201


async def test_lost_search_engine_is_degraded_not_unready(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its engine gone the service finds what it found before, and says everywhere what it does without."""
    async with run_app(settings) as running:
        before = (await running.client.get("/recommend/u0")).json()

        def lost(*_: object) -> None:
            raise RuntimeError("the device is gone")

        monkeypatch.setattr("service.adapters.whole_search.WholeSearch.search", lost)
        monkeypatch.setattr("service.adapters.integer_engine.IntegerEngine.find", lost)
        await running.client.get("/recommend/u1")
        after = (await running.client.get("/recommend/u0")).json()
        ready = (await running.client.get("/readyz")).json()
        metrics = (await running.client.get("/metrics")).text

    assert (before["degraded"], after["degraded"]) == ([], ["index"])
    assert after["items"] == before["items"]
    assert (ready["status"], ready["degraded"]) == ("ready", ["index"])
    assert 'i3rec_degraded{reason="index"} 1.0' in metrics
