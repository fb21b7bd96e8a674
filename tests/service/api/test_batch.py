"""``POST /items/batch`` over HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from service.api.batch import read_lines
from service.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = [0.5, -1.0, 2.0, 0.25]
IMAGE = [1.0, 2.0, 3.0]
JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
FAULTS: dict[str, tuple[dict, str]] = {
    "unknown modality": ({"modalities": {"so/und": [1.0]}}, "/modalities/so~1und"),
    "wrong dimension": ({"modalities": {"text": [1.0]}}, "/modalities/text"),
    "NaN": ({"modalities": {"text": [1.0, float("nan"), 0.0, 0.0]}}, "/modalities/text/1"),
    "too large for float32": ({"modalities": {"text": [1e39, 0.0, 0.0, 0.0]}}, "/modalities/text/0"),
    "a string among numbers": ({"modalities": {"text": [1.0, "2", 0.0, 0.0]}}, "/modalities/text/1"),
    "null": ({"modalities": {"text": None}}, "/modalities/text"),
    "base64 garbage": ({"modalities": {"text": {"embedding_b64": "?"}}}, "/modalities/text/embedding_b64"),
    "unknown field": ({"titel": "T"}, "/titel"),
    "time without zone": ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
    "infinite attribute": ({"attributes": {"a": float("inf")}}, "/attributes/a"),
    "text beyond Unicode": ({"title": "\ud800"}, "/title"),
    "empty id": ({"item_id": ""}, "/item_id"),
    "id beyond Unicode": ({"item_id": "\ud800"}, "/item_id"),
    "id that is a number": ({"item_id": 7}, "/item_id"),
}


def lines_of(answer: httpx.Response) -> list[dict]:
    """What each line of an answer says."""
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_array_is_written_in_order(client: httpx.AsyncClient) -> None:
    """Each item has its result, at its place, as a post would have answered."""
    items = [
        {"item_id": "a", "modalities": {"text": TEXT}, "title": "A"},
        {"item_id": "i00"},
        {"item_id": "a", "modalities": {"text": TEXT, "image": IMAGE}, "title": "Later"},
    ]

    answer = await client.post("/items/batch", json=items)

    assert (answer.status_code, answer.headers["x-model-version"]) == (207, "v1")
    document = answer.json()
    assert (document["written"], document["failed"]) == (3, 0)
    assert document["results"][0] == {
        "item_id": "a",
        "status": 201,
        "index_seq": 1,
        "encoding": {
            "present": ["text"],
            "missing": ["image"],
            "confidence": pytest.approx(2 / 3),
            "model_version": "v1",
        },
    }
    results = [(result["item_id"], result["status"], result["index_seq"]) for result in document["results"]]
    assert results == [("a", 201, 1), ("i00", 200, 2), ("a", 200, 3)]
    assert (await client.get("/items/a")).json()["title"] == "Later"


async def test_batch_encodes_as_posts_do(running: Any) -> None:
    """An item has the same vector whichever way it came."""
    body = {"modalities": {"text": TEXT, "image": IMAGE}}
    await running.client.post("/items", json={"item_id": "one"} | body)

    await running.client.post("/items/batch", json=[{"item_id": "x"}, {"item_id": "many"} | body])

    servable = running.services.handle.current
    np.testing.assert_allclose(servable.vector("many"), servable.vector("one"), rtol=1e-6)


@pytest.mark.parametrize("form", ["array", "lines"])
async def test_each_fault_is_reported_as_a_post_reports_it(client: httpx.AsyncClient, form: str) -> None:
    """The error of a bad item is the problem that a post of it gets; items around it are written."""
    bodies = [{"item_id": "x"} | part for part, _ in FAULTS.values()]
    good = {"item_id": "good"}

    if form == "array":
        answer = await client.post(
            "/items/batch", content=json.dumps([*bodies, good]), headers={"content-type": "application/json"}
        )
        results, totals = answer.json()["results"], answer.json()
    else:
        content = "\n".join(map(json.dumps, [*bodies, good]))
        *results, totals = lines_of(await client.post("/items/batch", content=content, headers=LINES))

    assert (totals["written"], totals["failed"]) == (1, len(FAULTS))
    for body, result, (name, (_, pointer)) in zip(bodies, results, FAULTS.items(), strict=False):
        posted = await client.post("/items", content=json.dumps(body), headers={"content-type": "application/json"})
        problem = posted.json()
        del problem["instance"]
        assert result["status"] == 422, name
        assert result["item_id"] == (None if pointer == "/item_id" else "x"), name
        assert result["error"]["errors"][0]["pointer"] == pointer, name
        assert result["error"] == problem, name
    assert results[-1]["status"] == 201
    assert (await client.get("/items/x")).status_code == 404


async def test_lines_are_answered_line_by_line(client: httpx.AsyncClient) -> None:
    """Each line has its numbered result, whatever stands in it; empty ones count, and the last line sums up."""
    long = json.dumps({"item_id": "long", "title": "x" * 2000})
    content = b"\r\n".join(
        [b'{"item_id": "a"}', b"", b"{", b"5", b"[" * 9999, b'"\xff"', long.encode(), b'{"item_id": "b"}']
    )

    answer = await client.post("/items/batch", content=content, headers=LINES)

    assert (answer.status_code, answer.headers["content-type"]) == (207, "application/x-ndjson")
    *results, totals = lines_of(answer)
    statuses = {result["line"]: result["status"] for result in results}
    assert statuses == {1: 201, 3: 400, 4: 422, 5: 400, 6: 400, 7: 422, 8: 201}
    assert results[1]["error"]["type"] == "urn:i3rec:problem:malformed-body"
    assert (results[1]["item_id"], results[5]["item_id"]) == (None, "long")
    assert totals == {"written": 2, "failed": 5}


async def test_long_lines_are_refused_one_by_one(run_app: Any, settings: Settings) -> None:
    """The size limit is that of a line, not of the stream; a line beyond it gets 413 and is skipped."""
    async with run_app(settings.model_copy(update={"max_body_bytes": 100})) as running:

        async def content() -> AsyncIterator[bytes]:
            for number in range(50):
                yield json.dumps({"item_id": f"n{number}", "title": "x" * (300 if number == 7 else 10)}).encode()
                yield b"\n"

        answer = await running.client.post("/items/batch", content=content(), headers=LINES)
        *results, totals = lines_of(answer)
        announced = await running.client.post("/items/batch", content=b'{"item_id": "a"}\n' * 20, headers=LINES)
        array = await running.client.post("/items/batch", json=[{"item_id": "a"}] * 20)

    assert totals == {"written": 49, "failed": 1}
    assert [r["line"] for r in results if r["status"] == 413] == [8]
    assert results[7]["error"]["type"] == "urn:i3rec:problem:body-too-large"
    assert lines_of(announced)[-1] == {"written": 20, "failed": 0}
    assert array.status_code == 413


async def test_results_come_while_lines_are_sent(running: Any) -> None:
    """The first results are answered before the last lines are sent."""
    sent: list[bytes] = [json.dumps({"item_id": f"n{n}"}).encode() + b"\n" for n in range(1000)]
    left_at_first_answer: list[int] = []

    async def receive() -> dict[str, Any]:
        body = sent.pop(0) if sent else b""
        return {"type": "http.request", "body": body, "more_body": bool(sent)}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body") and not left_at_first_answer:
            left_at_first_answer.append(len(sent))

    scope = {"type": "http", "method": "POST", "path": "/items/batch", "query_string": b"", "asgi": {"version": "3.0"}}
    scope |= {"headers": [(b"content-type", b"application/x-ndjson")], "state": {"services": running.services}}
    await running.app(scope, receive, send)

    assert left_at_first_answer[0] > 500
    assert running.services.handle.current.index_seq == 1000


async def test_old_clients_get_the_answer_whole(running: Any) -> None:
    """HTTP/1.0 knows no chunks: the answer has a length."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"item_id": "a"}\n{"item_id": ""}', "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/items/batch", "query_string": b"", "asgi": {"version": "3.0"}}
    scope |= {"headers": [(b"content-type", b"application/x-ndjson")], "state": {"services": running.services}}
    await running.app(scope | {"http_version": "1.0"}, receive, send)

    start, body = sent
    lines = [json.loads(line) for line in body["body"].splitlines()]
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert (start["status"], lines[-1]) == (207, {"written": 1, "failed": 1})


async def test_clients_who_leave_lose_only_what_they_did_not_send(running: Any) -> None:
    """Lines that came whole before the client went away are written; half a line is not."""
    messages = [
        {"type": "http.request", "body": b'{"item_id": "a"}\n{"item_id": "b"}\n{"item_id": "c"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/items/batch", "query_string": b"", "asgi": {"version": "3.0"}}
    scope |= {"headers": [(b"content-type", b"application/x-ndjson")], "state": {"services": running.services}}
    await running.app(scope, receive, send)

    servable = running.services.handle.current
    assert [item_id in servable for item_id in "abc"] == [True, True, False]


async def test_batch_survives_a_restart(run_app: Any, settings: Settings) -> None:
    """A new app on the same journal knows everything that was acknowledged."""
    content = b"".join(json.dumps({"item_id": f"n{n}"}).encode() + b"\n" for n in range(600))
    async with run_app(settings) as first:
        answer = await first.client.post("/items/batch", content=content, headers=LINES)

    async with run_app(settings) as second:
        servable = second.services.handle.current
        assert all(f"n{n}" in servable for n in range(600))
        assert servable.index_seq == 600
    assert lines_of(answer)[-1] == {"written": 600, "failed": 0}


MALFORMED = {
    "no JSON": (b"{", 400, None),
    "nothing": (b"", 400, None),
    "no UTF-8": (b'["\xff"]', 400, None),
    "deep": (b"[" * 100_000, 400, None),
    "an object": (b'{"item_id": "a"}', 422, ""),
    "null": (b"null", 422, ""),
    "too many": (b"[" + b",".join([b"{}"] * 4) + b"]", 422, ""),
}


@pytest.mark.parametrize(("content", "status", "pointer"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_array_is_refused_as_a_whole(
    run_app: Any, settings: Settings, content: bytes, status: int, pointer: str | None
) -> None:
    """A body that is no array, or too long a one, gets one problem for all of it."""
    async with run_app(settings.model_copy(update={"max_batch_items": 3})) as running:
        json_type = {"content-type": "application/json"}

        refused = await running.client.post("/items/batch", content=content, headers=json_type)
        taken = await running.client.post("/items/batch", content=b"[{},{},{}]", headers=json_type)

    assert refused.status_code == status, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == ([] if pointer is None else [pointer])
    assert (taken.status_code, taken.json()["failed"]) == (207, 3)


async def test_empty_batches_are_fine(client: httpx.AsyncClient) -> None:
    """No items, no results."""
    array = await client.post("/items/batch", json=[])
    lines = [await client.post("/items/batch", content=content, headers=LINES) for content in (b"", b"\n \n")]

    assert (array.status_code, array.json()) == (207, {"results": [], "written": 0, "failed": 0})
    assert [lines_of(answer) for answer in lines] == [[{"written": 0, "failed": 0}]] * 2


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/merge-patch+json", "application/x-ndjsonx"])
async def test_other_content_types_are_refused(client: httpx.AsyncClient, content_type: str) -> None:
    """Only arrays and lines are taken; parameters of the content type do not matter, parameters of the path do."""
    refused = await client.post("/items/batch", content=b"[]", headers={"content-type": content_type})
    query = await client.post("/items/batch?k=1", json=[])
    charset = await client.post(
        "/items/batch", content=b"", headers={"content-type": "Application/X-NDJSON; charset=utf-8"}
    )

    assert (refused.status_code, query.status_code, charset.status_code) == (415, 422, 207)


async def test_item_called_batch_is_an_item(client: httpx.AsyncClient) -> None:
    """The route takes nothing away from an item of that name."""
    await client.post("/items", json={"item_id": "batch"})

    assert (await client.get("/items/batch")).json()["item_id"] == "batch"
    assert (await client.patch("/items/batch", json={"title": "T"})).status_code == 200
    assert (await client.delete("/items/batch")).status_code == 204


async def test_encoder_failure_is_the_items_own(client: httpx.AsyncClient) -> None:
    """An item on which the encoder fails gets 500 in its result, without the engine's words; the others are written."""
    items = [{"item_id": "a"}, {"item_id": "x", "modalities": {"text": [3e38] * 4}}, {"item_id": "b"}]

    document = (await client.post("/items/batch", json=items)).json()

    assert [result["status"] for result in document["results"]] == [201, 500, 201]
    error = document["results"][1]["error"]
    assert (error["type"], error["detail"]) == ("urn:i3rec:problem:encoding-failed", "The item could not be encoded")
    assert (await client.get("/items/x")).status_code == 404


UNUSABLE_IDS: dict[str, Any] = {
    "half a character": "\ud800",
    "an object": {"a": 1},
    "a number": 7,
    "too long": "x" * 257,
}


@pytest.mark.parametrize("item_id", UNUSABLE_IDS.values(), ids=UNUSABLE_IDS)
@pytest.mark.parametrize("wrong", [{}, {f"n{n}": 1 for n in range(100)}], ids=["alone", "beside much else"])
async def test_ids_that_are_none_are_not_sent_back(client: httpx.AsyncClient, item_id: Any, wrong: Any) -> None:
    """Whatever else is wrong; items before and after are written, and told."""
    items = [{"item_id": "a"}, {"item_id": item_id, **wrong}, {"item_id": "b"}]

    array = (await client.post("/items/batch", content=json.dumps(items), headers=JSON)).json()
    lines = await client.post("/items/batch", content="\n".join(map(json.dumps, items)), headers=LINES)

    for results in (array["results"], lines_of(lines)[:-1]):
        assert [(result["item_id"], result["status"] < 300) for result in results] == [
            ("a", True),
            (None, False),
            ("b", True),
        ]


async def test_storage_failure_is_503_in_each_result(running: Any) -> None:
    """Where the journal takes nothing, every item says so."""
    running.services.catalog._journal.close()  # white box: the shortest way to a journal that refuses

    document = (await running.client.post("/items/batch", json=[{"item_id": "a"}, {"item_id": "b"}])).json()

    assert [result["status"] for result in document["results"]] == [503, 503]
    assert (document["written"], document["failed"]) == (0, 2)


@pytest.mark.parametrize("form", ["application/json", "application/x-ndjson"])
async def test_nothing_is_taken_without_a_model(run_app: Any, tmp_path: Any, form: str) -> None:
    """Before a version serves the whole batch is refused with 503."""
    settings = Settings(model_store=tmp_path / "none", journal_url=f"sqlite:///{tmp_path}/j.sqlite3")
    async with run_app(settings) as running:
        refused = await running.client.post("/items/batch", content=b"[]", headers={"content-type": form})

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:i3rec:problem:model-unavailable")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_lines_do_not_depend_on_how_they_arrive(size: int) -> None:
    """However a stream is cut, its lines are the same; those above the limit are None."""
    text = b"abc\n\nabcdef\nabcde\n" + b"x" * 50 + b"\nend"

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(text), size):
            yield text[start : start + size]

    found = [line async for some in read_lines(stream(), 5) for line in some]

    assert found == [b"abc", b"", None, b"abcde", None, b"end"]
