"""``/interactions`` and ``/users`` over HTTP."""

import json
from typing import Any

import httpx
import pytest

from service.settings import Settings

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
EVENT = {"user_id": "stranger", "item_id": "i03"}


async def listed(client: httpx.AsyncClient, path: str) -> list[str]:
    """The ids of a list."""
    return [item["item_id"] for item in (await client.get(path)).json()["items"]]


async def test_one_interaction_counts_in_the_very_next_list(client: httpx.AsyncClient) -> None:
    """An answered interaction makes a stranger known: their list is personal, that of a session that did the same."""
    before = (await client.get("/recommend/stranger?k=5")).json()
    taken = await client.post("/interactions", json=EVENT | {"kind": "click", "at": "2026-01-31T12:00:00+01:00"})
    after = (await client.get("/recommend/stranger?k=5&strict=true")).json()
    session = (await client.post("/recommend", json={"history": ["i03"], "k": 5})).json()

    assert taken.status_code == 202
    assert taken.json() == {"accepted": 1, "repeated": 0, "seq": 1}
    assert (before["strategy"], after["strategy"]) == ("popular", "personal")
    assert "i03" in [item["item_id"] for item in before["items"]]
    assert after["items"] == session["items"]
    assert "i03" not in [item["item_id"] for item in after["items"]]


async def test_interactions_add_to_those_of_the_training(client: httpx.AsyncClient) -> None:
    """A trained user who did more is served by all of it; seen=include brings back both kinds of seen items."""
    await client.post("/interactions", json={"user_id": "u0", "item_id": "i07"})

    after = (await client.get("/recommend/u0")).json()
    session = (await client.post("/recommend", json={"history": ["i00", "i01", "i07"]})).json()

    assert after["items"] == session["items"]
    assert len(after["items"]) == 9
    assert {"i00", "i01", "i07"} <= set(await listed(client, "/recommend/u0?seen=include"))


async def test_several_interactions_are_taken_at_once(client: httpx.AsyncClient) -> None:
    """A list is taken in its order; an event that is repeated in it, or from an earlier one, is written once."""
    events = [EVENT | {"event_id": "e1"}, EVENT | {"item_id": "i04"}, EVENT | {"item_id": "i05", "event_id": "e1"}]

    first = await client.post("/interactions", json=events)
    second = await client.post("/interactions", json=events)

    assert (first.status_code, first.json()) == (202, {"accepted": 2, "repeated": 1, "seq": 2})
    assert second.json() == {"accepted": 1, "repeated": 2, "seq": 3}
    assert set(await listed(client, "/recommend/stranger")) == {f"i{n:02}" for n in range(12)} - {"i03", "i04"}


async def test_no_interactions_are_taken_too(client: httpx.AsyncClient) -> None:
    """An empty list changes nothing."""
    taken = await client.post("/interactions", json=[])

    assert (taken.status_code, taken.json()) == (202, {"accepted": 0, "repeated": 0, "seq": 0})


async def test_interactions_may_come_before_their_item(client: httpx.AsyncClient) -> None:
    """An item that is described after its interaction is not shown to that user, but to others."""
    await client.post("/interactions", json=[{"user_id": user, "item_id": "later"} for user in ("u0", "stranger")])
    strict = await client.get("/recommend/stranger?strict=true")
    await client.post("/items", json={"item_id": "later", "modalities": {"text": [1, 2, 3, 4]}})

    assert strict.json()["strategy"] == "popular"
    for user, sees_it in (("u0", False), ("stranger", False), ("u1", True), ("nobody", True)):
        assert ("later" in await listed(client, f"/recommend/{user}")) is sees_it, user


INVALID = {
    "no user": ({"item_id": "a"}, "/user_id"),
    "no item": ({"user_id": "a"}, "/item_id"),
    "unknown field": (EVENT | {"weight": 1}, "/weight"),
    "unknown field named like a schema": (EVENT | {"InteractionBody": {}}, "/InteractionBody"),
    "empty user": (EVENT | {"user_id": ""}, "/user_id"),
    "long item": (EVENT | {"item_id": "x" * 257}, "/item_id"),
    "item with a newline": (EVENT | {"item_id": "a\nb"}, "/item_id"),
    "user beyond Unicode": (EVENT | {"user_id": "\ud800"}, "/user_id"),
    "user that is a number": (EVENT | {"user_id": 7}, "/user_id"),
    "item that is null": (EVENT | {"item_id": None}, "/item_id"),
    "empty event id": (EVENT | {"event_id": ""}, "/event_id"),
    "long event id": (EVENT | {"event_id": "x" * 257}, "/event_id"),
    "event id with a tab": (EVENT | {"event_id": "\t"}, "/event_id"),
    "event id that is a number": (EVENT | {"event_id": 1}, "/event_id"),
    "empty kind": (EVENT | {"kind": ""}, "/kind"),
    "long kind": (EVENT | {"kind": "x" * 65}, "/kind"),
    "kind beyond Unicode": (EVENT | {"kind": "\udfff"}, "/kind"),
    "kind that is null": (EVENT | {"kind": None}, "/kind"),
    "time without zone": (EVENT | {"at": "2026-01-31T12:00:00"}, "/at"),
    "time as a number": (EVENT | {"at": 1_700_000_000}, "/at"),
    "no time": (EVENT | {"at": "yesterday"}, "/at"),
    "one of several": ([EVENT, EVENT | {"item_id": ""}], "/1/item_id"),
    "not even an object in a list": ([EVENT, "i03"], "/1"),
    "a list in a list": ([[EVENT]], "/0"),
    "a string": ("i03", ""),
    "null": (None, ""),
}


@pytest.mark.parametrize(("body", "pointer"), INVALID.values(), ids=INVALID.keys())
async def test_interactions_refuse_what_is_invalid(client: httpx.AsyncClient, body: Any, pointer: str) -> None:
    """Each fault gets 422 with one pointer to it, and nothing is written, also of the sound ones beside it."""
    refused = await client.post("/interactions", content=json.dumps(body), headers=JSON)

    problem = refused.json()
    assert refused.status_code == 422, problem
    assert refused.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in problem["errors"]] == [pointer], problem
    assert (await client.get("/recommend/stranger?strict=true")).status_code == 404


async def test_too_many_interactions_are_refused(run_app: Any, settings: Settings) -> None:
    """Above the limit the whole document is at fault, and nothing is written; at the limit all are taken."""
    async with run_app(settings.model_copy(update={"max_interactions": 2})) as running:
        refused = await running.client.post("/interactions", json=[EVENT] * 3)
        strict = await running.client.get("/recommend/stranger?strict=true")
        taken = await running.client.post("/interactions", json=[EVENT] * 2)

    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"pointer": "", "detail": "expected at most 2 entries, found 3"}]
    assert strict.status_code == 404
    assert taken.json()["accepted"] == 2


@pytest.mark.parametrize("content", [b"{", b"[{]", b"nonsense", b'{"user_id": "\xff"}', b"[" * 100_000])
async def test_interactions_refuse_what_is_no_json(client: httpx.AsyncClient, content: bytes) -> None:
    """A body that is no JSON gets 400."""
    refused = await client.post("/interactions", content=content, headers=JSON)

    assert refused.status_code == 400
    assert refused.json()["type"] == "urn:i3rec:problem:malformed-body"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-ndjson", ""])
async def test_interactions_refuse_other_content_types(client: httpx.AsyncClient, content_type: str) -> None:
    """Only application/json is taken."""
    refused = await client.post("/interactions", content=json.dumps(EVENT), headers={"content-type": content_type})

    assert refused.status_code == 415
    assert (await client.get("/recommend/stranger?strict=true")).status_code == 404


@pytest.mark.parametrize(("method", "path"), [("POST", "/interactions?k=1"), ("DELETE", "/users/stranger?k=")])
async def test_user_routes_refuse_query_parameters(client: httpx.AsyncClient, method: str, path: str) -> None:
    """These routes have no query, so a parameter is a mistake, and nothing is done."""
    await client.post("/interactions", json=EVENT)

    refused = await client.request(method, path, json=EVENT)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/query/k"
    assert "i03" not in await listed(client, "/recommend/stranger")


async def test_erased_user_is_as_the_training_left_them(client: httpx.AsyncClient) -> None:
    """After DELETE /users interactions neither block nor move lists, those of others do, and new ones count again."""
    before = {user: (await client.get(f"/recommend/{user}")).json()["items"] for user in ("u0", "a/b")}
    for user in ("u0", "a/b", "u1"):
        await client.post("/interactions", json={"user_id": user, "item_id": "i07"})

    for path in ("/users/u0", "/users/a%2Fb", "/users/a%2Fb", "/users/nobody"):
        erased = await client.delete(path)

        assert (erased.status_code, erased.content) == (204, b"")
        assert int(erased.headers["X-Index-Seq"]) > 3
    for user, items in before.items():
        assert (await client.get(f"/recommend/{user}")).json()["items"] == items
    assert (await client.get("/recommend/a%2Fb?strict=true")).status_code == 404
    assert "i07" not in await listed(client, "/recommend/u1")
    await client.post("/interactions", json={"user_id": "u0", "item_id": "i08"})
    assert {"i07", "i08"} & set(await listed(client, "/recommend/u0")) == {"i07"}


async def test_interactions_and_erasures_survive_a_restart(run_app: Any, settings: Settings) -> None:
    """On the same journal a new process knows what was done, each event by its id, and nothing of who was erased."""
    async with run_app(settings) as running:
        for user in ("stranger", "gone"):
            event = {"user_id": user, "item_id": "i03", "event_id": f"e-{user}"}
            await running.client.post("/interactions", json=event)
        await running.client.delete("/users/gone")
        kept = (await running.client.get("/recommend/stranger")).json()["items"]
    async with run_app(settings) as running:
        repeated = await running.client.post("/interactions", json=EVENT | {"event_id": "e-stranger"})
        stranger = (await running.client.get("/recommend/stranger")).json()
        gone = await running.client.get("/recommend/gone?strict=true")

    assert (repeated.json()["accepted"], repeated.json()["repeated"]) == (0, 1)
    assert stranger["items"] == kept
    assert gone.status_code == 404


@pytest.mark.parametrize("user_id", ["x" * 257, ""])
async def test_erasing_refuses_impossible_user_ids(client: httpx.AsyncClient, user_id: str) -> None:
    """A user id that cannot exist gets 422."""
    refused = await client.delete(f"/users/{user_id}")

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/path/user_id"


async def test_without_journal_nothing_is_taken_and_lists_say_so(running: Any) -> None:
    """A journal that refuses gives 503 to writes; whose history is not at hand is served as the training left them."""
    before = (await running.client.get("/recommend/u1")).json()
    await running.client.post("/interactions", json={"user_id": "u0", "item_id": "i07"})
    for user in ("u1", "stranger"):  # the journal must be asked about them from now on
        assert (await running.client.delete(f"/users/{user}")).status_code == 204
    running.services.feedback._journal.close()  # white box: the shortest way to a journal that refuses

    noted = await running.client.post("/interactions", json=EVENT)
    erased = await running.client.delete("/users/u0")
    at_hand = (await running.client.get("/recommend/u0")).json()
    trained = (await running.client.get("/recommend/u1")).json()
    stranger = await running.client.get("/recommend/stranger")
    strict = await running.client.get("/recommend/stranger?strict=true")

    for refused in (noted, erased, strict):
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:i3rec:problem:storage-unavailable")
        assert int(refused.headers["retry-after"]) > 0
    assert (at_hand["strategy"], at_hand["degraded"]) == ("personal", [])
    assert "i07" not in {item["item_id"] for item in at_hand["items"]}
    assert (trained["strategy"], trained["degraded"]) == ("personal", ["history"])
    assert trained["items"] == before["items"]
    assert (stranger.json()["strategy"], stranger.json()["degraded"]) == ("popular", ["history"])
