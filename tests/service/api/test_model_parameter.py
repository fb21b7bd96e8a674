"""``model``: the version that must answer."""

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from model_store import ModelStore

pytestmark = pytest.mark.anyio

QUERIES = ["/recommend/u0", "/recommend/nobody", "/items/i03/similar"]
BODIES = {"/recommend": {"history": ["i03"]}, "/recommend/batch": {"users": ["u0", "nobody"]}}


async def ask(client: httpx.AsyncClient, model: object) -> list[httpx.Response]:
    """Every list there is, of one version."""
    by_query = [await client.get(path, params={"model": model}) for path in QUERIES]
    return by_query + [await client.post(path, json=body | {"model": model}) for path, body in BODIES.items()]


async def test_version_that_serves_answers(client: httpx.AsyncClient) -> None:
    """As it would have unasked."""
    for answer in await ask(client, "v1"):
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, "v1")

    asked, unasked = await client.get("/recommend/u0?model=v1"), await client.get("/recommend/u0")
    assert asked.json()["items"] == unasked.json()["items"]


async def test_other_versions_are_refused(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: Callable[..., None]
) -> None:
    """Whether there is such a version or not; from the exchange on the other one is."""
    make_version(published_store, "v2", seed=3, promote=False)

    for version in ("v2", "V1", "v1 ", "nobody/knows"):
        for answer in await ask(client, version):
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:i3rec:problem:model-not-serving")
            assert answer.headers["content-type"] == "application/problem+json"
            assert (repr(version) in answer.json()["detail"], "'v1'" in answer.json()["detail"]) == (True, True)
    await client.post("/models/v2/activate")

    assert {answer.status_code for answer in await ask(client, "v1")} == {409}
    assert {answer.headers["x-model-version"] for answer in await ask(client, "v2")} == {"v2"}


async def test_pages_of_one_version_end_with_it(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: Callable[..., None]
) -> None:
    """Who pages through a list of one version notices when another one takes over."""
    make_version(published_store, "v2", seed=3, promote=False)
    first = await client.get("/recommend/u0?k=3&model=v1")
    query = {"k": 3, "model": "v1", "cursor": first.json()["next_cursor"]}
    second = await client.get("/recommend/u0", params=query)
    await client.post("/models/v2/activate")

    third = await client.get("/recommend/u0", params=query)

    assert (second.status_code, third.status_code) == (200, 409)


async def test_refusal_comes_before_the_question(client: httpx.AsyncClient) -> None:
    """What is unknown to the version that serves may be known to the other one."""
    assert (await client.get("/recommend/nobody?strict=true&model=v2")).status_code == 409
    assert (await client.get("/items/nothing/similar?model=v2")).status_code == 409
    assert (await client.get("/items/nothing/similar?model=v1")).status_code == 404


async def test_refused_lists_are_not_counted(running: Any) -> None:
    """No place was shown."""
    await ask(running.client, "v2")

    metrics = (await running.client.get("/metrics")).text
    counts = re.findall(r"^i3rec_(?:recommendations|impressions)_total\{.*\} (.+)$", metrics, re.MULTILINE)

    assert set(counts) == {"0.0"}


@pytest.mark.parametrize("version", ["", "x" * 129])
async def test_what_is_no_version_is_refused(client: httpx.AsyncClient, version: str) -> None:
    """422 with its place."""
    for answer, place in zip(await ask(client, version), ["/query/model"] * 3 + ["/model"] * 2, strict=True):
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [place]
    twice = await client.get("/recommend/u0?model=v1&model=v1")
    assert twice.json()["errors"] == [{"pointer": "/query/model", "detail": "expected at most once"}]


@pytest.mark.parametrize("version", [1, True, ["v1"], {"version": "v1"}])
async def test_versions_in_bodies_are_text(client: httpx.AsyncClient, version: object) -> None:
    """Nothing else is taken for one."""
    for path, body in BODIES.items():
        refused = await client.post(path, json=body | {"model": version})

        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/model"]


@pytest.mark.parametrize("path", ["/items", "/items/i03", "/models"])
async def test_other_routes_have_no_such_parameter(client: httpx.AsyncClient, path: str) -> None:
    """Nothing there depends on the version in that way."""
    answer = await client.get(path, params={"model": "v1"})

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/model"]
