"""``/recommend`` over HTTP."""

import time
from typing import Any

import httpx
import pytest

from service import making
from service.lists import make_page
from service.settings import Settings

pytestmark = pytest.mark.anyio


async def test_known_user_is_served_personally(client: httpx.AsyncClient) -> None:
    """A user of the model gets unseen items by score, with titles and ranks."""
    answer = await client.get("/recommend/u0?k=3", headers={"X-Request-Id": "req-1"})

    body = answer.json()
    scores = [item["score"] for item in body["items"]]
    assert answer.headers["x-model-version"] == "v1"
    assert {name: body[name] for name in body if name not in {"items", "next_cursor"}} == {
        "request_id": "req-1",
        "user_id": "u0",
        "strategy": "personal",
        "model_version": "v1",
        "index_seq": 0,
        "degraded": [],
    }
    assert scores == sorted(scores, reverse=True)
    assert [item["rank"] for item in body["items"]] == [1, 2, 3]
    assert all(item["title"] == f"Item {int(item['item_id'][1:])}" for item in body["items"])


async def test_seen_items_come_back_on_demand(client: httpx.AsyncClient) -> None:
    """Items of the training data are left out unless the request includes them."""
    without = (await client.get("/recommend/u2")).json()["items"]
    including = (await client.get("/recommend/u2?seen=include")).json()["items"]

    assert {item["item_id"] for item in including} - {item["item_id"] for item in without} == {"i02", "i03"}
    assert len(including) == 12


async def test_excluded_items_stay_out(client: httpx.AsyncClient) -> None:
    """Every excluded id stays out, of the popular list too; unknown ids do no harm."""
    for user in ("u0", "nobody"):
        answer = (await client.get(f"/recommend/{user}?exclude=i05&exclude=i06&exclude=none")).json()

        assert not {"i05", "i06"} & {item["item_id"] for item in answer["items"]}


async def test_unknown_user_gets_popular_items(client: httpx.AsyncClient) -> None:
    """Whom nobody knows is served by popularity; strict callers get a 404."""
    popular = await client.get("/recommend/some%2Fbody?k=3")
    strict = await client.get("/recommend/some%2Fbody?strict=true")

    assert popular.json()["strategy"] == "popular"
    assert popular.json()["user_id"] == "some/body"
    assert [(item["item_id"], item["score"]) for item in popular.json()["items"]] == [
        ("i00", 12),
        ("i01", 11),
        ("i02", 10),
    ]
    assert (strict.status_code, strict.json()["type"]) == (404, "urn:i3rec:problem:unknown-user")


REFUSED = {
    "limit=5": "/query/limit",
    "k=0": "/query/k",
    "k=501": "/query/k",
    "k=many": "/query/k",
    "seen=maybe": "/query/seen",
    "strict=perhaps": "/query/strict",
    "exclude=": "/query/exclude/0",
    "exclude=i00&exclude=a%0Ab": "/query/exclude/1",
    "&".join(f"exclude={n}" for n in range(501)): "/query/exclude",
}


@pytest.mark.parametrize(("query", "pointer"), REFUSED.items(), ids=[key[:30] for key in REFUSED])
async def test_recommend_refuses_bad_queries(client: httpx.AsyncClient, query: str, pointer: str) -> None:
    """A parameter nobody knows, or of an impossible value, gets 422 with a pointer to it."""
    refused = await client.get(f"/recommend/u0?{query}")

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == pointer


async def test_recommend_refuses_impossible_user_ids(client: httpx.AsyncClient) -> None:
    """A user id that cannot exist gets 422."""
    refused = await client.get("/recommend/" + "x" * 257)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/path/user_id"


@pytest.mark.parametrize("path", ["/recommend/u0", "/items/i00/similar"])
async def test_parameters_that_come_twice_are_refused(client: httpx.AsyncClient, path: str) -> None:
    """Those that are lists may come repeatedly."""
    refused = await client.get(f"{path}?k=3&k=4&exclude=i05&exclude=i06")
    taken = await client.get(f"{path}?k=3&exclude=i05&exclude=i06")

    assert (refused.status_code, taken.status_code) == (422, 200)
    assert refused.json()["errors"] == [{"pointer": "/query/k", "detail": "expected at most once"}]


async def test_lists_that_nobody_waits_for_are_given_up(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """504 after the deadline, also where they are made on a thread; the rest of a batch is not made for nobody."""
    made = []

    def slowly(*request: Any) -> Any:
        made.append(request)
        time.sleep(0.2)
        return make_page(*request)

    monkeypatch.setattr(making, "make_page", slowly)
    async with run_app(settings.model_copy(update={"deadline_s": 0.3})) as running:
        batch = await running.client.post("/recommend/batch", json={"users": [f"u{n}" for n in range(6)], "k": 3})

    assert (batch.status_code, batch.json()["type"]) == (504, "urn:i3rec:problem:deadline-exceeded")
    assert len(made) <= 3


async def test_users_of_confusable_names_are_told_apart(client: httpx.AsyncClient) -> None:
    """With the same history they have the same vector, and what is remembered is found by who asked for what."""
    for user in ("bob", "all:bob"):
        await client.post("/interactions", json=[{"user_id": user, "item_id": item} for item in ("i01", "i02")])

    async def shown(path: str) -> set[str]:
        return {item["item_id"] for item in (await client.get(path)).json()["items"]}

    everything = await shown("/recommend/bob?seen=include")
    for _ in range(2):
        assert await shown("/recommend/all:bob") == everything - {"i01", "i02"}
        assert await shown("/recommend/bob?seen=include") == everything


async def test_repeated_interactions_do_not_crowd_out_others(client: httpx.AsyncClient) -> None:
    """Who plays one song a thousand times has heard the others all the same."""
    await client.post("/interactions", json={"user_id": "fan", "item_id": "i04"})
    await client.post("/interactions", json=[{"user_id": "fan", "item_id": "i09"}] * 1000)

    for _ in range(2):
        shown = {item["item_id"] for item in (await client.get("/recommend/fan?k=100")).json()["items"]}
        assert shown == {f"i{n:02}" for n in range(12)} - {"i04", "i09"}
