"""``/recommend`` over HTTP."""

import httpx
import pytest

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
