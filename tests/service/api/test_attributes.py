"""Conditions on attributes over HTTP, in queries and in bodies."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from model_store import ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
TRAINED = {f"i{n:02}" for n in range(12)}
PRICED = {"cheap": 1, "fair": 2.5, "dear": "10.0", "sold": True, "odd": "on request"}


async def put_all(client: httpx.AsyncClient) -> None:
    """Items with prices of all kinds; the trained ones have a brand and no price."""
    items = [
        {"item_id": name, "categories": ["shop"], "attributes": {"price": price, "a:b": "x"}}
        for name, price in PRICED.items()
    ]
    assert (await client.post("/items/batch", json=items)).json()["failed"] == 0


def ids(answer: httpx.Response) -> set[str]:
    """The ids of a list, each once."""
    assert answer.status_code == 200, answer.text
    found = [item["item_id"] for item in answer.json()["items"]]
    assert len(found) == len(set(found))
    return set(found)


QUERIES: dict[str, tuple[list[str], set[str]]] = {
    "text": (["brand:acme"], TRAINED),
    "an integer": (["price:1"], {"cheap"}),
    "the same as a decimal": (["price:1.0"], {"cheap"}),
    "a decimal": (["price:2.50"], {"fair"}),
    "a number kept as text": (["price:10"], {"dear"}),
    "a truth value": (["price:true"], {"sold"}),
    "no truth value": (["price:True"], set()),
    "several values": (["price:1", "price:10", "price:7"], {"cheap", "dear"}),
    "several names": (["price:1", "brand:acme"], set()),
    "text with a space": (["price:on request"], {"odd"}),
    "an unknown value": (["brand:nobody"], set()),
    "an unknown name": (["colour:red"], set()),
    "nothing as a value": (["brand:"], set()),
    "a colon in the value": (["brand:a:b"], set()),
}


@pytest.mark.parametrize(("conditions", "expected"), QUERIES.values(), ids=QUERIES.keys())
async def test_queries_restrict_every_list(
    client: httpx.AsyncClient, conditions: list[str], expected: set[str]
) -> None:
    """Of one name any of the values, of several names all; numbers by value."""
    await put_all(client)
    query = {"attribute": conditions, "k": 100}

    assert ids(await client.get("/recommend/u3", params=query)) == expected - {"i03", "i04"}
    assert ids(await client.get("/recommend/nobody", params=query)) == expected
    assert ids(await client.get("/items/i03/similar", params=query)) == expected - {"i03"}


BODIES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "text": ({"brand": "acme"}, TRAINED),
    "an integer": ({"price": 1}, {"cheap"}),
    "a decimal": ({"price": 10.0}, {"dear"}),
    "number as text": ({"price": "2.50"}, {"fair"}),
    "a truth value": ({"price": True}, {"sold"}),
    "one of several": ({"price": [1, "on request", True, 7]}, {"cheap", "odd", "sold"}),
    "one of none": ({"price": []}, set()),
    "at least": ({"price": {"gte": 2.5}}, {"fair", "dear"}),
    "more than": ({"price": {"gt": 2.5}}, {"dear"}),
    "at most": ({"price": {"lte": 2.5}}, {"cheap", "fair"}),
    "less than": ({"price": {"lt": 2.5, "gte": None}}, {"cheap"}),
    "between": ({"price": {"gt": 1, "lte": 10}}, {"fair", "dear"}),
    "between nothing": ({"price": {"gt": 10, "lt": 1}}, set()),
    "a bound beyond all numbers": ({"price": {"lt": 10**400}}, {"cheap", "fair", "dear"}),
    "all must hold": ({"price": {"gte": 0}, "a:b": "x"}, {"cheap", "fair", "dear"}),
    "all must hold of one item": ({"price": {"gte": 0}, "brand": "acme"}, set()),
    "a name with a colon": ({"a:b": "x"}, {*PRICED}),
    "an unknown name": ({"colour": "red"}, set()),
    "a range of text": ({"brand": {"gte": 0}}, set()),
    "nothing": ({}, TRAINED | {*PRICED}),
}


@pytest.mark.parametrize(("conditions", "expected"), BODIES.values(), ids=BODIES.keys())
async def test_bodies_restrict_every_list(
    client: httpx.AsyncClient, conditions: dict[str, Any], expected: set[str]
) -> None:
    """By a value, a list of values, or bounds; for sessions and users, personal and popular lists."""
    await put_all(client)
    options = {"attributes": conditions, "k": 100}

    session = await client.post("/recommend", json={"history": ["i03"], **options})
    stranger = await client.post("/recommend", json={"history": [], **options})
    users = await client.post("/recommend/batch", json={"users": ["u3", "nobody"], "seen": "include", **options})

    assert ids(session) == expected - {"i03"}
    assert ids(stranger) == expected
    for result in users.json()["results"]:
        assert {item["item_id"] for item in result["items"]} == expected


async def test_conditions_go_together_with_all_others(client: httpx.AsyncClient) -> None:
    """Categories, exclusions, what was seen, scores, and the order stay what they are."""
    await put_all(client)
    everything = (await client.get("/recommend/nobody?k=100&attribute=a:b:x")).json()["items"]
    assert everything == []  # the first colon ends the name
    await client.post("/interactions", json={"user_id": "ann", "item_id": "cheap"})

    in_shop = await client.get("/recommend/ann?attribute=price:1&attribute=price:10&category=shop&category=a")
    elsewhere = await client.get("/recommend/ann?attribute=price:10&category=a")
    excluded = await client.get("/recommend/nobody?attribute=price:1&attribute=price:10&exclude=dear")
    trained = (await client.get("/recommend/u3?k=100")).json()["items"]
    branded = (await client.get("/recommend/u3?k=100&attribute=brand:acme")).json()["items"]
    least = await client.get("/recommend/u3", params={"attribute": "brand:acme", "min_score": branded[2]["score"]})

    assert ids(in_shop) == {"dear"}
    assert ids(elsewhere) == set()
    assert ids(excluded) == {"cheap"}
    of_brand = [(item["item_id"], item["score"]) for item in trained if item["item_id"] in TRAINED]
    assert [(item["item_id"], item["score"]) for item in branded] == of_brand
    assert [item["item_id"] for item in least.json()["items"]] == [item_id for item_id, _ in of_brand[:3]]


@pytest.mark.parametrize("user_id", ["u3", "nobody"])
async def test_pages_keep_to_the_conditions(client: httpx.AsyncClient, user_id: str) -> None:
    """Page by page all that fulfil them, each once."""
    await put_all(client)
    query: dict[str, Any] = {"attribute": ["price:1", "price:10", "price:2.5"], "k": 2}
    pages = []
    while True:
        answer = await client.get(f"/recommend/{user_id}", params=query)
        pages.append([item["item_id"] for item in answer.json()["items"]])
        if answer.json()["next_cursor"] is None:
            break
        query["cursor"] = answer.json()["next_cursor"]

    assert sorted(item_id for page in pages for item_id in page) == ["cheap", "dear", "fair"]
    assert [len(page) for page in pages] == [2, 1]


async def test_items_move_with_their_attributes(client: httpx.AsyncClient) -> None:
    """From the answer on: written, patched, taken away, deleted, written again; trained ones too."""

    async def of(condition: str) -> set[str]:
        return ids(await client.get("/recommend/nobody", params={"attribute": condition, "k": 100}))

    assert await of("size:7") == set()
    await client.post("/items", json={"item_id": "x", "attributes": {"size": 7}})
    await client.patch("/items/i00", json={"attributes": {"size": "7.0"}})
    assert await of("size:7") == {"x", "i00"}
    assert await of("brand:acme") == TRAINED
    await client.patch("/items/x", json={"attributes": {"size": 8}})
    await client.patch("/items/i00", json={"attributes": {"brand": None}})
    assert (await of("size:7"), await of("size:8")) == ({"i00"}, {"x"})
    assert await of("brand:acme") == TRAINED - {"i00"}
    await client.patch("/items/i00", json={"attributes": None})
    await client.delete("/items/x")
    await client.delete("/items/i01")
    assert await of("size:7") == await of("size:8") == set()
    assert await of("brand:acme") == TRAINED - {"i00", "i01"}
    await client.post("/items", json={"item_id": "i01", "attributes": {"size": 8}, "hidden": True})
    assert await of("size:8") == set()
    await client.patch("/items/i01", json={"hidden": False})
    assert await of("size:8") == {"i01"}


async def test_attributes_survive_restarts_and_other_versions(
    run_app: Any, settings: Settings, make_version: Callable[..., None], published_store: ModelStore
) -> None:
    """They are read from the journal again, and those of the bundle from the bundle that serves."""

    async def check(client: httpx.AsyncClient) -> None:
        assert ids(await client.get("/recommend/nobody?attribute=price:10")) == {"dear", "i00"}
        assert ids(await client.get("/recommend/nobody?attribute=brand:acme")) == TRAINED - {"i00", "i01"}
        some = {"history": [], "attributes": {"price": {"gte": 2, "lt": 10}}}
        assert ids(await client.post("/recommend", json=some)) == {"fair"}

    async with run_app(settings) as running:
        await put_all(running.client)
        await running.client.post("/items", json={"item_id": "i00", "attributes": {"price": 10}})
        await running.client.delete("/items/i01")
        await check(running.client)
    async with run_app(settings) as running:
        await check(running.client)
        make_version(published_store, "v2", seed=3, promote=False)
        await running.client.post("/models/v2/activate")
        await check(running.client)


REFUSED_QUERIES = {
    "attribute=": "/query/attribute/0",
    "attribute=brand": "/query/attribute/0",
    "attribute=:acme": "/query/attribute/0",
    "attribute=brand:acme&attribute=x": "/query/attribute/1",
    "attribute=" + "x" * 4301: "/query/attribute/0",
    "attributes=brand:acme": "/query/attributes",
    "attribute[brand]=acme": "/query/attribute[brand]",
    "&".join(f"attribute=p:{n}" for n in range(501)): "/query/attribute",
    "&".join(f"attribute=p{n}:1" for n in range(501)): "/query/attribute",
}


@pytest.mark.parametrize(("query", "pointer"), REFUSED_QUERIES.items(), ids=[key[:30] for key in REFUSED_QUERIES])
async def test_malformed_queries_are_refused(client: httpx.AsyncClient, query: str, pointer: str) -> None:
    """With one pointer to what is wrong."""
    for path in ("/recommend/u0", "/items/i03/similar"):
        refused = await client.get(f"{path}?{query}")

        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


REFUSED_BODIES: dict[str, tuple[Any, str]] = {
    "no object": ([], "/attributes"),
    "text": ("brand:acme", "/attributes"),
    "null": (None, "/attributes"),
    "an empty name": ({"": 1}, "/attributes/"),
    "a long name": ({"x" * 257: 1}, "/attributes/" + "x" * 257),
    "a name beyond Unicode": ({"\ud800": 1}, "/attributes"),
    "too many names": ({f"n{n}": 1 for n in range(101)}, "/attributes"),
    "null as a value": ({"a": None}, "/attributes/a"),
    "long text": ({"a": "x" * 4001}, "/attributes/a"),
    "text beyond Unicode": ({"a": "\ud800"}, "/attributes/a"),
    "no bounds": ({"a/b": {}}, "/attributes/a~1b"),
    "bounds of null": ({"a": {"gte": None}}, "/attributes/a"),
    "a bound as text": ({"a": {"gte": "1"}}, "/attributes/a/gte"),
    "a bound as a truth value": ({"a": {"lt": True}}, "/attributes/a/lt"),
    "a bound that is no number": ({"a": {"gt": float("nan")}}, "/attributes/a/gt"),
    "an infinite bound": ({"a": {"lte": float("inf")}}, "/attributes/a/lte"),
    "an unknown bound": ({"a": {"gte": 1, "min": 2}}, "/attributes/a/min"),
    "a bound named like a schema": ({"a": {"Range": 1}}, "/attributes/a/Range"),
    "null in a list": ({"a": ["x", None]}, "/attributes/a/1"),
    "a list in a list": ({"a": [[1]]}, "/attributes/a/0"),
    "bounds in a list": ({"a": [1, 2, {"gte": 1}]}, "/attributes/a/2"),
    "long text in a list": ({"a": ["x" * 4001]}, "/attributes/a/0"),
    "too many values": ({"a": [*range(501)]}, "/attributes"),
    "too many values together": ({"a": [*range(300)], "b": [*range(201)]}, "/attributes"),
}
BEFORE = {"/recommend": {"history": ["i03"]}, "/recommend/batch": {"users": ["u0"]}}


@pytest.mark.parametrize(("conditions", "pointer"), REFUSED_BODIES.values(), ids=REFUSED_BODIES.keys())
async def test_malformed_bodies_are_refused(client: httpx.AsyncClient, conditions: Any, pointer: str) -> None:
    """With a pointer to what is wrong; none leads elsewhere than along the way to it."""
    for path, body in BEFORE.items():
        refused = await client.post(path, content=json.dumps(body | {"attributes": conditions}), headers=JSON)

        assert refused.status_code == 422
        pointers = {error["pointer"] for error in refused.json()["errors"]}
        assert pointer in pointers
        assert all(pointer.startswith(each) for each in pointers)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("-inf")]], ids=str)
async def test_values_that_are_no_numbers_are_refused(client: httpx.AsyncClient, value: Any) -> None:
    """As they are in items."""
    for path, body in BEFORE.items():
        refused = await client.post(path, content=json.dumps(body | {"attributes": {"a": value}}), headers=JSON)

        assert refused.status_code == 422


@pytest.mark.parametrize("name", ["null as a value", "a bound as text", "null in a list", "long text"])
async def test_one_fault_is_told_once(client: httpx.AsyncClient, name: str) -> None:
    """As it is everywhere else."""
    conditions, pointer = REFUSED_BODIES[name]

    refused = await client.post("/recommend", json={"history": [], "attributes": conditions})

    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_conditions_are_limited_by_the_settings(run_app: Any, settings: Settings) -> None:
    """As many values as exclusions."""
    async with run_app(settings.model_copy(update={"max_exclude": 2})) as running:
        client = running.client
        answers = [
            await client.get("/recommend/u0?attribute=a:1&attribute=b:2"),
            await client.post("/recommend", json={"history": [], "attributes": {"a": [1], "b": 2, "c": {"gte": 1}}}),
            await client.get("/recommend/u0?attribute=a:1&attribute=a:2&attribute=b:2"),
            await client.post("/recommend", json={"history": [], "attributes": {"a": [1, 2], "b": 2}}),
        ]

    assert [answer.status_code for answer in answers] == [200, 200, 422, 422]
    assert [answer.json()["errors"] for answer in answers[2:]] == [
        [{"pointer": "/query/attribute", "detail": "expected at most 2 values, found 3"}],
        [{"pointer": "/attributes", "detail": "expected at most 2 values, found 3"}],
    ]


async def test_titles_are_no_attributes(client: httpx.AsyncClient) -> None:
    """What has a field of its own is not found by name, unless an item has such an attribute, too."""
    assert ids(await client.get("/recommend/nobody", params={"attribute": "title:Item 3"})) == set()
    await client.post("/items", json={"item_id": "x", "attributes": {"title": "Item 3"}})

    assert ids(await client.get("/recommend/nobody", params={"attribute": "title:Item 3"})) == {"x"}
