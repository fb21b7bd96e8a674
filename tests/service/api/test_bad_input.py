"""Bad input of every kind: a problem document, nothing written, and the service goes on."""

import json
from collections.abc import AsyncIterator, Callable
from itertools import product
from typing import Any

import httpx
import pytest

from service.settings import Settings

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
TAKING_JSON: dict[tuple[str, str], Any] = {
    ("POST", "/items"): {"item_id": "x"},
    ("PATCH", "/items/i00"): {"title": "T"},
    ("POST", "/items/batch"): [{"item_id": "x"}],
    ("POST", "/interactions"): {"user_id": "u", "item_id": "x"},
    ("POST", "/recommend"): {"history": ["i03"]},
    ("POST", "/recommend/batch"): {"users": ["u0"]},
}
routes = pytest.mark.parametrize(
    ("method", "path"), TAKING_JSON, ids=[f"{method} {path}" for method, path in TAKING_JSON]
)


async def check_refused(client: httpx.AsyncClient, answer: httpx.Response, *statuses: int) -> None:
    """A problem document that says what and where, and a catalogue as it was."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["type"].startswith("urn:i3rec:problem:")
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == answer.headers["x-request-id"]
    assert bool(problem["errors"]) == (answer.status_code == 422)
    ready = await client.get("/recommend/u0")
    assert (ready.status_code, ready.json()["index_seq"]) == (200, 0)


async def test_of_many_errors_some_are_told(client: httpx.AsyncClient) -> None:
    """The answer stays small, and says how many more there are."""
    answer = await client.post("/recommend", json={"history": [1] * 5000})

    await check_refused(client, answer, 422)
    assert len(answer.json()["errors"]) == 100
    assert answer.json()["detail"].endswith("; and 4900 more")
    assert len(answer.content) < 30_000


MANY = 20_000
NAMES = {f"n{n}": [] for n in range(MANY)}
CROWDED: dict[str, tuple[str, str, Any, str]] = {
    "history": ("POST", "/recommend", {"history": [1] * MANY}, "/history"),
    "exclude": ("POST", "/recommend", {"history": [], "exclude": [1] * MANY}, "/exclude"),
    "category": ("POST", "/recommend", {"history": [], "category": [""] * MANY}, "/category"),
    "conditions": ("POST", "/recommend", {"history": [], "attributes": NAMES}, "/attributes"),
    "values": ("POST", "/recommend", {"history": [], "attributes": {"a": [[]] * MANY}}, "/attributes/a/0"),
    "bounds": ("POST", "/recommend", {"history": [], "attributes": {"a": NAMES}}, "/attributes/a"),
    "users": ("POST", "/recommend/batch", {"users": [1] * MANY}, "/users"),
    "interactions": ("POST", "/interactions", [1] * MANY, "/0"),
    "an interaction": ("POST", "/interactions", NAMES, ""),
    "an item": ("POST", "/items", {"item_id": "x", **NAMES}, ""),
    "numbers": ("POST", "/items", {"item_id": "x", "modalities": {"text": [""] * MANY}}, "/modalities/text/0"),
    "modalities": ("POST", "/items", {"item_id": "x", "modalities": NAMES}, "/modalities"),
    "a modality": (
        "POST",
        "/items",
        {"item_id": "x", "modalities": {"text": {"text": "t", **NAMES}}},
        "/modalities/text",
    ),
    "attributes": ("POST", "/items", {"item_id": "x", "attributes": NAMES}, "/attributes"),
    "categories": ("POST", "/items", {"item_id": "x", "categories": [1] * MANY}, "/categories"),
    "a patch": ("PATCH", "/items/i00", NAMES, ""),
    "modalities of a patch": ("PATCH", "/items/i00", {"modalities": NAMES}, "/modalities"),
    "attributes of a patch": ("PATCH", "/items/i00", {"attributes": NAMES}, "/attributes"),
}


@pytest.mark.parametrize(("method", "path", "body", "pointer"), CROWDED.values(), ids=CROWDED)
async def test_what_is_crowded_is_refused_as_a_whole(
    client: httpx.AsyncClient, method: str, path: str, body: Any, pointer: str
) -> None:
    """No error is made for each of the entries: the event loop would stand still for those of a few megabytes."""
    answer = await client.request(method, path, json=body)

    await check_refused(client, answer, 422)
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert len(answer.content) < 2000


async def test_crowded_item_of_a_batch_is_refused_as_a_whole(client: httpx.AsyncClient) -> None:
    """The same for one item among others, which are written."""
    answer = await client.post("/items/batch", json=[{"item_id": "x", **NAMES}, {"item_id": "y"}])

    first, second = answer.json()["results"]
    assert (first["status"], second["status"]) == (422, 201)
    assert [error["pointer"] for error in first["error"]["errors"]] == [""]


NO_JSON = {
    "half of it": b'{"item_id": "x"',
    "something after it": b'{"item_id": "x"} {}',
    "a comma too many": b'{"item_id": "x",}',
    "single quotes": b"{'item_id': 'x'}",
    "no quotes": b"{item_id: x}",
    "a comment": b'{"item_id": "x"} // x',
    "deep arrays": b"[" * 200_000,
    "deep arrays that end": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "Latin-1": '{"item_id": "ü"}'.encode("latin-1"),
    "a control character": b'{"item_id": "a\nb"}',
    "a NUL": b'{"item_id": "x"}\0',
    "an escape that is none": b'{"item_id": "\\x41"}',
    "a number as long as a book": b'{"item_id": ' + b"9" * 100_000 + b"}",
    "binary": bytes(range(256)),
}


@routes
async def test_what_is_no_json_is_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    """With 400, however it fails; without a body at all with 422, where a body is missed."""
    for name, content in NO_JSON.items():
        answer = await client.request(method, path, content=content, headers=JSON)
        assert answer.status_code == 400, name
        await check_refused(client, answer, 400)

    await check_refused(client, await client.request(method, path, headers=JSON), 400, 422)


@routes
async def test_other_documents_are_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    """What is JSON, but no object, or no array where that is expected."""
    others: list[Any] = ["text", 7, 1.5, True, None, {"a": {}}, [[[]]]]
    for other in others:
        answer = await client.request(method, path, content=json.dumps(other), headers=JSON)

        if path == "/items/batch" and isinstance(other, list):  # of a batch each item has a problem of its own
            assert (answer.status_code, answer.json()["failed"]) == (207, 1)
        else:
            await check_refused(client, answer, 422)


@routes
async def test_other_content_types_are_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    """With 415."""
    content = json.dumps(TAKING_JSON[method, path]).encode()

    for content_type in ("text/plain", "multipart/form-data", "application/json+x", "json", "/", "ü"):
        headers = {"content-type": content_type.encode()}
        await check_refused(client, await client.request(method, path, content=content, headers=headers), 415)


@routes
async def test_content_types_may_have_parameters(client: httpx.AsyncClient, method: str, path: str) -> None:
    """And be written large."""
    content = json.dumps(TAKING_JSON[method, path]).encode()
    headers = {"content-type": "Application/JSON; charset=utf-8"}

    answer = await client.request(method, path, content=content, headers=headers)

    assert answer.status_code in {200, 201, 202, 207}


@routes
async def test_large_bodies_are_refused(run_app: Any, settings: Settings, method: str, path: str) -> None:
    """Announced or not, with 413, whatever is in them."""
    padded = json.dumps(TAKING_JSON[method, path]).encode() + b" " * 200

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(padded), 50):
            yield padded[start : start + 50]

    async with run_app(settings.model_copy(update={"max_body_bytes": 100})) as running:
        for content in (padded, chunks()):
            answer = await running.client.request(method, path, content=content, headers=JSON)
            await check_refused(running.client, answer, 413)


FACTS: dict[str, tuple[dict[str, Any], str]] = {
    "long title": ({"title": "x" * 1001}, "/title"),
    "title as a number": ({"title": 7}, "/title"),
    "categories as text": ({"categories": "a"}, "/categories"),
    "too many categories": ({"categories": ["a"] * 101}, "/categories"),
    "empty category": ({"categories": ["a", ""]}, "/categories/1"),
    "long category": ({"categories": ["x" * 257]}, "/categories/0"),
    "category as a number": ({"categories": [1]}, "/categories/0"),
    "attributes as a list": ({"attributes": []}, "/attributes"),
    "too many attributes": ({"attributes": {f"a{n}": n for n in range(101)}}, "/attributes"),
    "attribute without a name": ({"attributes": {"": 1}}, "/attributes/"),
    "long name of an attribute": ({"attributes": {"x" * 257: 1}}, "/attributes/" + "x" * 257),
    "long attribute": ({"attributes": {"a": "x" * 4001}}, "/attributes/a"),
    "attribute far below": ({"attributes": {"a": -(10**400)}}, "/attributes/a"),
    "NaN as an attribute": ({"attributes": {"a": float("nan")}}, "/attributes/a"),
    "list as an attribute": ({"attributes": {"a": ["x"]}}, "/attributes/a"),
    "modalities as a list": ({"modalities": [1.0]}, "/modalities"),
    "modality as text": ({"modalities": {"text": "x"}}, "/modalities/text"),
    "modality as a number": ({"modalities": {"text": 1.0}}, "/modalities/text"),
    "numbers in numbers": ({"modalities": {"text": [[1.0], 0.0, 0.0, 0.0]}}, "/modalities/text/0"),
    "a number beyond all numbers": ({"modalities": {"text": [10**400, 0, 0, 0]}}, "/modalities/text/0"),
    "too many numbers": ({"modalities": {"text": [0.0] * 100_000}}, "/modalities/text"),
    "packed as a number": ({"modalities": {"text": {"embedding_b64": 7}}}, "/modalities/text/embedding_b64"),
    "packed as null": ({"modalities": {"text": {"embedding_b64": None}}}, "/modalities/text/embedding_b64"),
    "base64 of another alphabet": (
        {"modalities": {"text": {"embedding_b64": "__--"}}},
        "/modalities/text/embedding_b64",
    ),
    "base64 with line ends": (
        {"modalities": {"text": {"embedding_b64": "AAAA\nAAA="}}},
        "/modalities/text/embedding_b64",
    ),
    "base64 without its end": ({"modalities": {"text": {"embedding_b64": "AAAAAA"}}}, "/modalities/text/embedding_b64"),
    "hidden as a number": ({"hidden": 1}, "/hidden"),
    "a day": ({"expires_at": "2030-01-01"}, "/expires_at"),
    "a day that is none": ({"expires_at": "2030-02-30T00:00:00Z"}, "/expires_at"),
    "an hour that is none": ({"expires_at": "2030-01-01T25:00:00Z"}, "/expires_at"),
    "a zone that is none": ({"expires_at": "2030-01-01T00:00:00+99:99"}, "/expires_at"),
    "a year that is none": ({"expires_at": "10000-01-01T00:00:00Z"}, "/expires_at"),
    "seconds as text": ({"expires_at": "1893456000"}, "/expires_at"),
    "no time at all": ({"expires_at": ""}, "/expires_at"),
    "a list as a time": ({"expires_at": []}, "/expires_at"),
}


async def test_facts_that_cannot_be_are_refused(client: httpx.AsyncClient) -> None:
    """Posted, patched, and among others, each fault has its place."""
    for name, (facts, pointer) in FACTS.items():
        posted = await client.post("/items", content=json.dumps({"item_id": "x"} | facts), headers=JSON)
        patched = await client.patch("/items/i00", content=json.dumps(facts), headers=JSON)
        among = await client.post("/items/batch", content=json.dumps([{"item_id": "x"} | facts]), headers=JSON)

        for answer in (posted, patched):
            await check_refused(client, answer, 422)
            assert answer.json()["errors"][0]["pointer"] == pointer, name
        assert (among.status_code, among.json()["written"]) == (207, 0)
        assert among.json()["results"][0]["error"]["errors"] == posted.json()["errors"]


async def test_integers_beyond_64_bits_are_refused(client: httpx.AsyncClient) -> None:
    """As what comes back must be what was sent."""
    for integer in (2**63 + 1, -(2**63) - 1, 10**23):
        item = {"item_id": "x", "attributes": {"a": integer}}
        answer = await client.post("/items", json=item)
        await check_refused(client, answer, 422)
        lines = await client.post("/items/batch", content=json.dumps(item), headers=LINES)
        array = await client.post("/items/batch", json=[item])

        first = json.loads(lines.text.splitlines()[0])
        assert first["error"]["errors"] == array.json()["results"][0]["error"]["errors"] == answer.json()["errors"]


STRANGE_IDS = ["", " " * 257, "x" * 257, "\0", "a\x1f", "\x7f", "a\x80b", "\x9f", "a\r\nb", "\ud800", "\udfff\ud800"]


PLACES: list[tuple[str, Callable[[str], dict[str, Any]], str]] = [
    ("/items", lambda strange: {"item_id": strange}, "/item_id"),
    ("/interactions", lambda strange: {"user_id": strange, "item_id": "i00"}, "/user_id"),
    ("/interactions", lambda strange: {"user_id": "u0", "item_id": strange}, "/item_id"),
    ("/recommend", lambda strange: {"history": [strange]}, "/history/0"),
    ("/recommend", lambda strange: {"history": [], "exclude": [strange]}, "/exclude/0"),
    ("/recommend/batch", lambda strange: {"users": [strange]}, "/users/0"),
]


@pytest.mark.parametrize(("path", "body", "pointer"), PLACES, ids=[path + pointer for path, _, pointer in PLACES])
async def test_ids_that_cannot_be_are_refused(
    client: httpx.AsyncClient, path: str, body: Callable[[str], dict[str, Any]], pointer: str
) -> None:
    """In each place of a body where an id may stand."""
    for strange in STRANGE_IDS:
        answer = await client.post(path, content=json.dumps(body(strange)), headers=JSON)
        await check_refused(client, answer, 422)
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer], ascii(strange)


@pytest.mark.parametrize("strange", ["", "x" * 257, "\ud800"])
async def test_categories_that_cannot_be_are_refused(client: httpx.AsyncClient, strange: str) -> None:
    """Those that no item can have, in lists as in items."""
    bodies = [("/recommend", {"history": [], "category": [strange]}, "/category/0")]
    bodies.append(("/items", {"item_id": "x", "categories": [strange]}, "/categories/0"))
    for path, body, pointer in bodies:
        answer = await client.post(path, content=json.dumps(body), headers=JSON)
        await check_refused(client, answer, 422)
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_categories_that_items_have_can_be_asked_for(client: httpx.AsyncClient) -> None:
    """They are texts, no ids: control characters may be among them."""
    await client.post("/items", json={"item_id": "x", "categories": ["a\nb"]})

    asked = await client.post("/recommend", json={"history": [], "category": ["a\nb"]})
    queried = await client.get("/recommend/u0", params={"category": "a\nb"})

    assert [[each["item_id"] for each in answer.json()["items"]] for answer in (asked, queried)] == [["x"], ["x"]]


async def test_queries_that_are_no_utf8_are_refused(client: httpx.AsyncClient) -> None:
    """Else what is to be left out would be read as another name, and not be left out."""
    answer = await client.get("/recommend/u0?exclude=%ff&k=1")

    await check_refused(client, answer, 422)
    assert answer.json()["errors"] == [{"pointer": "/query", "detail": "expected UTF-8, percent-encoded"}]
    assert (await client.get("/recommend/u0?exclude=J%C3%BCrg")).status_code == 200


PATHS = [
    "/items/%00",
    "/items/a%0Ab",
    "/items/%C2%85",
    "/items/%00/similar",
    "/recommend/%1F",
    "/recommend/" + "x" * 257,
    "/recommend/" + "%F0%9F%98%80" * 257,
    "/recommend/%20%0B",
]


async def test_ids_in_paths_that_cannot_be_are_refused(client: httpx.AsyncClient) -> None:
    """With 422."""
    for path in PATHS:
        await check_refused(client, await client.get(path), 422)


NOWHERE = [
    "/items/",
    "/items//",
    "/items/" + "x" * 5000,
    "/items/..%2F..%2Fetc%2Fpasswd",
    "/items/%2e%2e",
    "/items/%FF%FE",
    "/items/nothing/similar",
    "/nothing",
    "/ITEMS",
    "/recommend",
    "/recommend/",
    "/models/v1",
    "/users/u0",
]


async def test_paths_that_lead_nowhere_are_problems(client: httpx.AsyncClient) -> None:
    """404 or 405 or, where an id cannot be, 422; nothing outside the catalogue is ever looked at."""
    for path in NOWHERE:
        await check_refused(client, await client.get(path), 404, 405, 422)


async def test_versions_that_are_none_cannot_be_activated(client: httpx.AsyncClient) -> None:
    """No name leads out of the model store."""
    for version in ["..", "..%2Fv1", "%2E%2E%2Fv1", "v1%2F..", "CURRENT", "v9", "x" * 300, "%20", "ü"]:
        answer = await client.post(f"/models/{version}/activate")
        await check_refused(client, answer, 404, 405, 422)

    assert (await client.get("/models")).json()["promoted"] == "v1"


NUMBERS = ["0", "-1", "501", "1.5", "1e1", "", " ", "null", "\u0665x", "0x5", "NaN", "9" * 400, "9" * 5000]


async def test_lengths_that_cannot_be_are_refused(client: httpx.AsyncClient) -> None:
    """As text in a query."""
    for path, number in product(("/recommend/u0", "/items/i03/similar"), NUMBERS):
        answer = await client.get(path, params={"k": number})
        await check_refused(client, answer, 422)
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/k"]


CURSORS = {
    "nothing": "",
    "one letter": "A",
    "no base64": "ab.c",
    "of another alphabet": "AS+/",
    "with its padding": "AQ==",
    "with a line end": "ASS4vn2W\n",
    "of another format": "AiS4vn2W",
    "the format alone": "AQ",
    "half an item": "ASS4vg",
    "beyond ASCII": "ü",
    "one of the catalogue": "dGkwMQ",
    "too long": "A" * 20_001,
    "over too many items": "AQ" + "A" * 19_000,
}


async def test_cursors_that_were_never_given_are_refused(client: httpx.AsyncClient) -> None:
    """In queries and in bodies."""
    for name, cursor in CURSORS.items():
        for path in ("/recommend/u0", "/recommend/nobody", "/items/i03/similar"):
            answer = await client.get(path, params={"cursor": cursor})
            await check_refused(client, answer, 422)
            assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/cursor"], name
        for path in ("/recommend", "/recommend/batch"):
            body = TAKING_JSON["POST", path] | {"cursor": cursor}
            answer = await client.post(path, json=body)
            await check_refused(client, answer, 422)
            assert [error["pointer"] for error in answer.json()["errors"]] == ["/cursor"], name


async def test_options_of_other_kinds_are_refused(client: httpx.AsyncClient) -> None:
    """With one pointer."""
    options: list[tuple[str, Any]] = [("cursor", 7), ("cursor", []), ("seen", None), ("seen", True), ("k", [3])]
    for name, value in options:
        answer = await client.post("/recommend", json={"history": [], name: value})

        await check_refused(client, answer, 422)
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{name}"]


HEADERS: list[dict[str, bytes]] = [
    {"X-Request-Id": b""},
    {"X-Request-Id": b"\xff\xfe"},
    {"X-Request-Id": b"x" * 10_000},
    {"X-Request-Id": b"a\tb"},
    {"traceparent": b"nonsense"},
    {"traceparent": b"\xff" * 55},
    {"traceparent": b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01"},
    {"Authorization": b""},
    {"Authorization": b"Bearer"},
    {"Authorization": b"Basic \xff\xff"},
    {"X-API-Key": b"\xff"},
    {"Accept": b"nonsense/\xff;;;q=x"},
    {"Accept-Encoding": b"\xff"},
    {"Content-Length": b"many"},
    {"Content-Length": b"-5"},
    {"Content-Type": b"\xff"},
    {"Cookie": b"\xff=" * 1000},
    {"X-Forwarded-For": b"\xff, ::1"},
    {"Host": b""},
]


async def test_junk_in_headers_that_say_nothing_is_passed_over(client: httpx.AsyncClient) -> None:
    """The answer is as without them; what is echoed is clean."""
    for headers in HEADERS:
        answer = await client.get("/recommend/u0?k=2", headers=headers)

        assert (answer.status_code, len(answer.json()["items"])) == (200, 2), headers
        assert answer.headers["x-request-id"].isprintable()
        assert 0 < len(answer.headers["x-request-id"]) <= 128
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


KEYS: list[dict[str, bytes]] = [
    {},
    {"Authorization": b"Bearer"},
    {"Authorization": b"Bearer "},
    {"Authorization": b"Basic " + b"r" * 16},
    {"Authorization": b"r" * 16},
    {"Authorization": b"Bearer \xff" + b"r" * 15},
    {"Authorization": b"Bearer " + b"r" * 15},
    {"Authorization": b"Bearer " + b"r" * 17},
    {"Authorization": b"Bearer " + b"r" * 16 + b", x"},
    {"X-API-Key": b"\xff" * 16},
    {"X-API-Key": b"x" * 100_000},
    {"X-API-Key": b""},
]


async def test_keys_that_are_none_are_refused(run_app: Any, settings: Settings) -> None:
    """With 401 and no word about which keys there are."""
    async with run_app(Settings(**{**settings.model_dump(), "read_keys": ("r" * 16,)})) as running:
        for headers in KEYS:
            answer = await running.client.get("/recommend/u0", headers=headers)

            assert (answer.status_code, answer.json()["type"]) == (401, "urn:i3rec:problem:unauthorized"), headers
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "r" * 15 not in answer.text


async def test_parameters_nobody_knows_are_refused(client: httpx.AsyncClient) -> None:
    """Whatever they are called, on every route that is read."""
    paths = ("/recommend/u0", "/items/i03/similar", "/items", "/items/i03", "/models")
    for path, name in product(paths, ("limits", "K", "k ", "\u2028", "__class__", "a" * 1000, "0")):
        answer = await client.get(path, params={name: "1"})
        await check_refused(client, answer, 422)
        assert answer.json()["errors"][0]["pointer"].startswith("/query/")


async def test_broken_queries_are_answered_or_refused(client: httpx.AsyncClient) -> None:
    """They never make the service fail."""
    for query in ("&&&", "%", "%zz", "=", "=1", "k=%ff", "k=3;seen=include", "exclude=%FF", "k[]=3"):
        answer = await client.get(f"/recommend/u0?{query}")

        if answer.status_code != 200:
            await check_refused(client, answer, 422)
