"""``POST /recommend`` and ``POST /recommend/batch``: lists whose question is a body."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from model_store import ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
ITEMS = [f"i{n:02}" for n in range(12)]
BODIES = {"/recommend": {"history": ["i03"]}, "/recommend/batch": {"users": ["u0"]}}
both = pytest.mark.parametrize("path", BODIES)


def ids(answer: dict[str, Any]) -> list[str]:
    """The ids of a list."""
    return [item["item_id"] for item in answer["items"]]


async def test_session_is_served_by_its_history(client: httpx.AsyncClient, published_store: ModelStore) -> None:
    """The list is that of the manifest's rule over the distinct items, which are left out; it is nobody's."""
    bundle = published_store.load()
    rows, table = (np.asarray(array, np.float64) for array in (bundle.history_embeddings, bundle.item_embeddings))
    scores = table @ (rows[3] + rows[5]) / np.sqrt(2)
    best = [n for n in np.argsort(-scores).tolist() if n not in {3, 5}][:3]

    answer = await client.post("/recommend", json={"history": ["i05", "unknown", "i03", "i05"], "k": 3})

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "v1"
    assert {name: body[name] for name in body if name not in {"items", "next_cursor"}} == {
        "request_id": answer.headers["x-request-id"],
        "user_id": None,
        "strategy": "session",
        "model_version": "v1",
        "index_seq": 0,
        "degraded": [],
    }
    assert body["items"] == [
        {"item_id": f"i{n:02}", "score": pytest.approx(scores[n], rel=1e-5), "rank": rank, "title": f"Item {n}"}
        for rank, n in enumerate(best, start=1)
    ]


@pytest.mark.parametrize("history", [[], ["unknown"]])
async def test_session_that_says_nothing_gets_popular_items(client: httpx.AsyncClient, history: list[str]) -> None:
    """Where nothing of the history is known, the list is the popular one."""
    answer = (await client.post("/recommend", json={"history": history, "k": 2})).json()

    assert (answer["strategy"], ids(answer)) == ("popular", ["i00", "i01"])


async def test_session_counts_items_written_online(client: httpx.AsyncClient) -> None:
    """An item that was posted a moment ago says as much of a session as a trained one, and can be in its list."""
    await client.post("/items", json={"item_id": "new", "modalities": {"text": [1, 2, 3, 4]}})

    of_new = (await client.post("/recommend", json={"history": ["new"]})).json()
    of_old = (await client.post("/recommend", json={"history": ["i03"]})).json()

    assert of_new["strategy"] == "session"
    assert sorted(ids(of_new)) == ITEMS
    assert "new" in ids(of_old)
    assert of_new["index_seq"] == 1


async def test_options_restrict_lists_in_a_body(client: httpx.AsyncClient) -> None:
    """Length, exclusions, categories, least score and seen items hold in a session as they do elsewhere."""

    async def ask(**options: object) -> list[str]:
        return ids((await client.post("/recommend", json={"history": ["i03"], **options})).json())

    full = (await client.post("/recommend", json={"history": ["i03"]})).json()["items"]
    everything = [item["item_id"] for item in full]
    middle = full[4]["score"]

    assert sorted(everything) == sorted(set(ITEMS) - {"i03"})
    assert await ask(k=4) == everything[:4]
    assert await ask(exclude=[everything[0], "unknown"]) == everything[1:]
    assert await ask(category=["a", "unknown"]) == [i for i in everything if int(i[1:]) % 2]
    assert await ask(category=["unknown"]) == []
    assert await ask(min_score=middle) == everything[:5]
    assert await ask(min_score=int(full[0]["score"]) + 1) == []
    assert sorted(await ask(seen="include")) == ITEMS


async def test_options_of_queries_are_those_of_bodies(client: httpx.AsyncClient) -> None:
    """The same question gives the same list, as a query or as a body."""
    for options in (
        {"category": ["a", "b"], "k": 2},
        {"min_score": 0.5},
        {"exclude": ["i05", "i07"], "seen": "include"},
    ):
        for user in ("u0", "nobody"):
            query = (await client.get(f"/recommend/{user}", params=options)).json()
            batch = (await client.post("/recommend/batch", json={"users": [user], **options})).json()

            assert query.pop("request_id")
            assert batch["results"] == [query]
            assert query["items"]


async def test_categories_follow_what_is_written(client: httpx.AsyncClient) -> None:
    """Items move between categories with each put, over the restriction of trained and online items alike."""

    async def in_category(name: str) -> set[str]:
        return set(ids((await client.get("/recommend/nobody", params={"category": name})).json()))

    await client.post("/items", json={"item_id": "i05", "categories": ["new ones"]})
    await client.post("/items", json={"item_id": "x", "categories": ["new ones", "a"]})

    assert await in_category("new ones") == {"i05", "x"}
    assert await in_category("a") == {"i01", "i03", "i07", "i09", "i11", "x"}
    await client.delete("/items/x")
    await client.delete("/items/i07")
    assert await in_category("new ones") == {"i05"}
    assert await in_category("a") == {"i01", "i03", "i09", "i11"}


async def test_several_users_are_answered_in_order(client: httpx.AsyncClient) -> None:
    """Each user's list is the one they would get alone, in the order asked for, one user twice if asked twice."""
    users = ["u1", "nobody", "a/b", "u1"]
    await client.post("/interactions", json={"user_id": "a/b", "item_id": "i03"})

    answer = await client.post("/recommend/batch", json={"users": users, "k": 3})

    alone = [(await client.get(f"/recommend/{user.replace('/', '%2F')}?k=3")).json() for user in users]
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "v1"
    assert answer.json() == {
        "request_id": answer.headers["x-request-id"],
        "results": [{name: value for name, value in each.items() if name != "request_id"} for each in alone],
    }
    assert [each["strategy"] for each in alone] == ["personal", "popular", "personal", "personal"]


async def test_strict_query_for_several_refuses_unknown_users(client: httpx.AsyncClient) -> None:
    """One unknown user fails a strict request as a whole."""
    refused = await client.post("/recommend/batch", json={"users": ["u0", "nobody"], "strict": True})
    fine = await client.post("/recommend/batch", json={"users": ["u0", "u1"], "strict": True})

    assert (refused.status_code, refused.json()["type"]) == (404, "urn:i3rec:problem:unknown-user")
    assert "nobody" in refused.json()["detail"]
    assert fine.status_code == 200


OPTIONS = {
    "k of 0": ({"k": 0}, "/k"),
    "k above the maximum": ({"k": 501}, "/k"),
    "k beyond all numbers": ({"k": 10**400}, "/k"),
    "k as a string": ({"k": "3"}, "/k"),
    "k as a float": ({"k": 3.5}, "/k"),
    "k as a boolean": ({"k": True}, "/k"),
    "too many exclusions": ({"exclude": ["i00"] * 501}, "/exclude"),
    "an empty exclusion": ({"exclude": ["i00", ""]}, "/exclude/1"),
    "exclusions that are no list": ({"exclude": "i00"}, "/exclude"),
    "too many categories": ({"category": ["a"] * 501}, "/category"),
    "a long category": ({"category": ["x" * 257]}, "/category/0"),
    "a category without a name": ({"category": ["a", ""]}, "/category/1"),
    "seen perhaps": ({"seen": "maybe"}, "/seen"),
    "a score as a string": ({"min_score": "0"}, "/min_score"),
    "a score as a boolean": ({"min_score": True}, "/min_score"),
    "no score": ({"min_score": float("nan")}, "/min_score"),
    "an infinite score": ({"min_score": float("-inf")}, "/min_score"),
    "a score beyond all numbers": ({"min_score": 10**400}, "/min_score"),
    "diversity as a string": ({"diversity": "0.5"}, "/diversity"),
    "diversity above 1": ({"diversity": 1.5}, "/diversity"),
    "a cap as a string": ({"max_per_category": "1"}, "/max_per_category"),
    "explain as a string": ({"explain": "yes"}, "/explain"),
    "a cursor that is none": ({"cursor": "ä"}, "/cursor"),
    "unknown field": ({"limit": 5}, "/limit"),
    "a list": ([], ""),
    "null": (None, ""),
}


@both
@pytest.mark.parametrize(("options", "pointer"), OPTIONS.values(), ids=OPTIONS.keys())
async def test_bodies_refuse_bad_options(client: httpx.AsyncClient, path: str, options: Any, pointer: str) -> None:
    """An option nobody knows, or of an impossible value, gets 422 with one pointer to it."""
    body = BODIES[path] | options if isinstance(options, dict) else options

    refused = await client.post(path, content=json.dumps(body), headers=JSON)

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


INVALID = {
    "no history": ("/recommend", {}, "/history"),
    "history that is no list": ("/recommend", {"history": "i03"}, "/history"),
    "history of null": ("/recommend", {"history": None}, "/history"),
    "an empty id": ("/recommend", {"history": ["i03", ""]}, "/history/1"),
    "a long id": ("/recommend", {"history": ["x" * 257]}, "/history/0"),
    "an id with a newline": ("/recommend", {"history": ["a\n"]}, "/history/0"),
    "an id that is a number": ("/recommend", {"history": [3]}, "/history/0"),
    "a session with a user": ("/recommend", {"history": [], "user_id": "u0"}, "/user_id"),
    "a strict session": ("/recommend", {"history": [], "strict": True}, "/strict"),
    "no users": ("/recommend/batch", {}, "/users"),
    "nobody": ("/recommend/batch", {"users": []}, "/users"),
    "an empty user": ("/recommend/batch", {"users": ["u0", ""]}, "/users/1"),
    "a long user": ("/recommend/batch", {"users": ["x" * 257]}, "/users/0"),
    "a user beyond Unicode": ("/recommend/batch", {"users": ["\ud800"]}, "/users/0"),
    "strict as a string": ("/recommend/batch", {"users": ["u0"], "strict": "yes"}, "/strict"),
    "a batch with a history": ("/recommend/batch", {"users": ["u0"], "history": []}, "/history"),
}


@pytest.mark.parametrize(("path", "body", "pointer"), INVALID.values(), ids=INVALID.keys())
async def test_bodies_refuse_bad_questions(client: httpx.AsyncClient, path: str, body: Any, pointer: str) -> None:
    """A history or users that cannot be get 422 with one pointer to what is wrong."""
    refused = await client.post(path, content=json.dumps(body), headers=JSON)

    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


async def test_bodies_are_limited(run_app: Any, settings: Settings) -> None:
    """Histories, users and lists as long as the settings allow are answered, longer ones refused by their name."""
    limits = {"max_history": 2, "max_users": 2, "max_k": 2, "default_k": 1, "max_exclude": 2}
    cases = {
        "history": ("/recommend", {"history": ["i03"] * 3}, {"history": ["i03"] * 2}),
        "users": ("/recommend/batch", {"users": ["u0"] * 3}, {"users": ["u0"] * 2}),
        "k": ("/recommend", {"history": [], "k": 3}, {"history": [], "k": 2}),
        "exclude": ("/recommend", {"history": [], "exclude": ["a"] * 3}, {"history": [], "exclude": ["a"] * 2}),
    }
    async with run_app(settings.model_copy(update=limits)) as running:
        for name, (path, above, at) in cases.items():
            refused, fine = await running.client.post(path, json=above), await running.client.post(path, json=at)

            problem = refused.json()
            assert refused.status_code == 422
            assert [error["pointer"] for error in problem["errors"]] == [f"/{name}"]
            assert "at most 2" in problem["detail"]
            assert fine.status_code == 200


@both
async def test_questions_have_to_be_json(client: httpx.AsyncClient, path: str) -> None:
    """Malformed JSON gets 400, another content type 415, a query 422, another method 405."""
    malformed = await client.post(path, content=b'{"history": [}', headers=JSON)
    text = await client.post(path, content=json.dumps(BODIES[path]), headers={"content-type": "text/plain"})
    query = await client.post(f"{path}?k=3", json=BODIES[path])
    method = await client.put(path, json=BODIES[path])

    assert (malformed.status_code, malformed.json()["type"]) == (400, "urn:i3rec:problem:malformed-body")
    assert (text.status_code, text.json()["type"]) == (415, "urn:i3rec:problem:unsupported-media-type")
    assert (query.status_code, query.json()["errors"][0]["pointer"]) == (422, "/query/k")
    assert (method.status_code, method.json()["type"]) == (405, "urn:i3rec:problem:method-not-allowed")


async def test_user_named_batch_is_a_user(client: httpx.AsyncClient) -> None:
    """The path of the batch is another user's list when it is read."""
    answer = await client.get("/recommend/batch")

    assert (answer.status_code, answer.json()["user_id"]) == (200, "batch")
