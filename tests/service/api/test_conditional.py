"""``If-Match`` and ``If-None-Match`` on ``/items``."""

from typing import Any

import anyio
import httpx
import pytest

from model_store import ModelStore

pytestmark = pytest.mark.anyio

BODY = {"item_id": "x", "title": "T"}


async def send(client: httpx.AsyncClient, method: str, item_id: str, headers: dict[str, str]) -> httpx.Response:
    """Writes an item in one of the three ways."""
    if method == "POST":
        return await client.post("/items", json={"item_id": item_id}, headers=headers)
    content = {"json": {"title": "New"}} if method == "PATCH" else {}
    return await client.request(method, f"/items/{item_id}", headers=headers, **content)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("tags", ['"1"', '"7", "1"', "*", ' "1" ,"abc,def"'])
async def test_matching_tags_let_writes_pass(client: httpx.AsyncClient, method: str, tags: str) -> None:
    """A write goes ahead where If-Match names the item's ETag, alone or among others, or any."""
    await client.post("/items", json=BODY)

    answer = await send(client, method, "x", {"If-Match": tags})

    assert answer.is_success, answer.text


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [{"If-Match": '"2"'}, {"If-Match": 'W/"1"'}, {"If-Match": '"01"'}, {"If-Match": '"abc"'}]
    + [{"If-None-Match": tags} for tags in ('"1"', '"3", W/"1"', "*")],
)
async def test_other_tags_stop_writes(client: httpx.AsyncClient, method: str, headers: dict[str, str]) -> None:
    """Where the item is not as expected the answer is 412, and it stays as it was. Weak tags never match If-Match."""
    await client.post("/items", json=BODY)

    refused = await send(client, method, "x", headers)

    assert (refused.status_code, refused.json()["type"]) == (412, "urn:i3rec:problem:precondition-failed")
    found = await client.get("/items/x")
    assert (found.json()["title"], found.headers["etag"]) == ("T", '"1"')


@pytest.mark.parametrize("tag", ['"0-v1"', '"0"'])
async def test_trained_items_have_a_tag(client: httpx.AsyncClient, tag: str) -> None:
    """The ETag of an item that only the model knows names the model; its number, 0, holds for it as well."""
    assert (await client.get("/items/i00")).headers["etag"] == '"0-v1"'
    assert (await client.get("/items/i00", headers={"If-None-Match": tag})).status_code == 304
    assert (await send(client, "PATCH", "i00", {"If-Match": '"1"'})).status_code == 412
    assert (await send(client, "PATCH", "i00", {"If-Match": tag})).status_code == 200
    assert (await send(client, "DELETE", "i00", {"If-Match": tag})).status_code == 412


async def test_tags_of_another_model_hold_for_nothing(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: Any
) -> None:
    """What a model says of an item is not what the next one says."""
    before = (await client.get("/items/i00")).headers["etag"]
    await client.post("/items", json=BODY)
    make_version(published_store, "v2", seed=1, promote=False)
    await client.post("/models/v2/activate")

    now = await client.get("/items/i00", headers={"If-None-Match": before})

    assert (now.status_code, now.headers["etag"]) == (200, '"0-v2"')
    assert (await send(client, "PATCH", "i00", {"If-Match": before})).status_code == 412
    assert (await client.get("/items/x", headers={"If-None-Match": '"1"'})).status_code == 304


async def test_batches_take_no_conditions(client: httpx.AsyncClient) -> None:
    """A tag names the state of one item; to pass it over in silence would be to write what was not to be."""
    for name in ("If-Match", "If-None-Match"):
        answer = await client.post("/items/batch", json=[BODY], headers={name: "*"})

        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/header/{name}")
    assert (await client.get("/items/x")).status_code == 404


async def test_post_can_insist_on_creating_or_replacing(client: httpx.AsyncClient) -> None:
    """If-None-Match: * creates and never replaces; If-Match: * replaces and never creates; deleted items are none."""
    assert (await send(client, "POST", "x", {"If-Match": "*"})).status_code == 412
    assert (await send(client, "POST", "x", {"If-None-Match": "*"})).status_code == 201
    assert (await send(client, "POST", "x", {"If-None-Match": "*"})).status_code == 412
    assert (await send(client, "POST", "i00", {"If-None-Match": "*"})).status_code == 412
    await client.delete("/items/x")
    assert (await send(client, "POST", "x", {"If-Match": '"1"'})).status_code == 412
    assert (await send(client, "POST", "x", {"If-None-Match": "*"})).status_code == 201


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_unknown_items_are_not_found_whatever_is_expected(client: httpx.AsyncClient, method: str) -> None:
    """There is no item to compare with: 404."""
    assert (await send(client, method, "nobody", {"If-Match": "*"})).status_code == 404


@pytest.mark.parametrize(
    ("tags", "status"), [('"1"', 304), ('W/"1"', 304), ('"0", "1"', 304), ("*", 304), ('"2"', 200), ('"abc"', 200)]
)
async def test_get_answers_304_to_those_who_know(client: httpx.AsyncClient, tags: str, status: int) -> None:
    """Whoever names the current ETag gets no body, but the tag and the version."""
    await client.post("/items", json=BODY)

    found = await client.get("/items/x", headers={"If-None-Match": tags})

    assert found.status_code == status
    assert (found.headers["etag"], found.headers["x-model-version"]) == ('"1"', "v1")
    assert bool(found.content) is (status == 200)


@pytest.mark.parametrize("tags", ["1", '"1', '"1" x', "", "* , *"])
async def test_malformed_tags_are_refused(client: httpx.AsyncClient, tags: str) -> None:
    """A header that is no list of tags gets 422 that names it, and nothing is written."""
    await client.post("/items", json=BODY)

    for method, name in (("PATCH", "If-Match"), ("DELETE", "If-Match"), ("POST", "If-None-Match")):
        refused = await send(client, method, "x", {name: tags})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == f"/header/{name}"
    assert (await client.get("/items/x", headers={"If-None-Match": tags})).status_code == 422
    assert (await client.get("/items/x")).headers["etag"] == '"1"'


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_of_writers_with_one_tag_only_one_wins(client: httpx.AsyncClient, method: str) -> None:
    """Twenty writes at once that all expect the same ETag: one goes ahead, the others get 412 (or find it deleted)."""
    await client.post("/items", json=BODY)
    statuses: list[int] = []

    async def write() -> None:
        statuses.append((await send(client, method, "x", {"If-Match": '"1"'})).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(write)

    assert min(statuses) in {200, 204}
    assert sorted(statuses)[1:] == [404 if method == "DELETE" else 412] * 19


async def test_of_creators_only_one_wins(running: Any) -> None:
    """Twenty posts at once with If-None-Match: * create the item once."""
    statuses: list[int] = []

    async def create() -> None:
        statuses.append((await send(running.client, "POST", "new", {"If-None-Match": "*"})).status_code)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(create)

    assert sorted(statuses) == [201] + [412] * 19
    assert running.services.handle.current.index_seq == 1
