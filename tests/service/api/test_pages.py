"""Pages, diversity, caps and reasons over HTTP."""

from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio

ALL = [f"i{n:02}" for n in range(12)]


async def ids(client: httpx.AsyncClient, path: str, **query: Any) -> tuple[list[str], str | None]:
    """The items of a list and its cursor."""
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]], answer.json()["next_cursor"]


@pytest.mark.parametrize("user_id", ["u0", "nobody"])
@pytest.mark.parametrize("k", [1, 4, 10, 12])
async def test_pages_are_the_list_cut_in_pieces(client: httpx.AsyncClient, user_id: str, k: int) -> None:
    """Put together they are the one long list, whoever asks; after the last page there is no cursor."""
    path = f"/recommend/{user_id}"
    whole, end = await ids(client, path, k=50)

    pages, cursor = [], None
    while True:
        page, cursor = await ids(client, path, k=k, **({"cursor": cursor} if cursor else {}))
        pages += page
        if cursor is None:
            break

    assert pages == whole
    assert end is None


async def test_no_page_repeats_an_item_whatever_happens(client: httpx.AsyncClient) -> None:
    """Between two pages items come, change and go, and the user moves on; what was shown does not come again."""
    first, cursor = await ids(client, "/recommend/u0", k=4)
    await client.post("/items", json={"item_id": "fresh", "modalities": {"text": [9.0, 9.0, 9.0, 9.0]}})
    await client.post("/items", json={"item_id": first[0], "modalities": {"text": [9.0, -9.0, 9.0, 9.0]}})
    await client.post("/interactions", json={"user_id": "u0", "item_id": "i05"})
    await client.delete("/items/i07")

    second, _ = await ids(client, "/recommend/u0", k=50, cursor=cursor)

    assert not set(first) & set(second)
    assert "fresh" in second
    assert not {"i05", "i07"} & set(second)
    assert set(first) | set(second) | {"i00", "i01", "i05", "i07"} == {*ALL, "fresh"}


async def test_pages_stop_at_the_limit(run_app: Any, settings: Any) -> None:
    """A cursor leads past so many items and no more."""
    async with run_app(settings.model_copy(update={"max_cursor": 6})) as running:
        _, first = await ids(running.client, "/recommend/nobody", k=4)
        page, second = await ids(running.client, "/recommend/nobody", k=4, cursor=first)

    assert first is not None
    assert (len(page), second) == (4, None)


async def test_strange_cursors_are_refused(client: httpx.AsyncClient) -> None:
    """In a query and in a body, with the place."""
    query = await client.get("/recommend/u0", params={"cursor": "abc"})
    body = await client.post("/recommend", json={"history": ["i00"], "cursor": "abc"})

    assert (query.status_code, body.status_code) == (422, 422)
    assert query.json()["errors"] == [{"pointer": "/query/cursor", "detail": "expected a cursor as it was given"}]
    assert body.json()["errors"][0]["pointer"] == "/cursor"


async def test_diverse_lists_are_other_items_in_the_order_of_scores(client: httpx.AsyncClient) -> None:
    """Eight copies of the best item fill the list; with diversity others stand beside one of them."""
    for n in range(8):
        await client.post("/items", json={"item_id": f"copy{n}", "modalities": {"text": [30.0, 30.0, 30.0, 30.0]}})
    session = {"history": ["copy0"], "k": 5}

    plain = (await client.post("/recommend", json=session)).json()["items"]
    diverse = (await client.post("/recommend", json=session | {"diversity": 0.9})).json()["items"]

    assert sum(item["item_id"].startswith("copy") for item in plain) == 5
    assert sum(item["item_id"].startswith("copy") for item in diverse) < 3
    scores = [item["score"] for item in diverse]
    assert scores == sorted(scores, reverse=True)
    assert [item["rank"] for item in diverse] == [1, 2, 3, 4, 5]


async def test_categories_are_capped_on_every_page(client: httpx.AsyncClient) -> None:
    """Items of odd number are of a and b; two of them at most in a list, which is full all the same."""
    capped, cursor = await ids(client, "/recommend/nobody", k=6, max_per_category=2)
    rest, _ = await ids(client, "/recommend/nobody", k=6, max_per_category=2, cursor=cursor)

    assert len(capped) == 6
    assert [sum(int(item[1:]) % 2 for item in page) for page in (capped, rest)] == [2, 2]
    assert not set(capped) & set(rest)


@pytest.mark.parametrize("k", [1, 2, 5])
async def test_what_a_cap_keeps_from_a_page_comes_on_a_later_one(client: httpx.AsyncClient, k: int) -> None:
    """All items are reached, however few a page may have of a category, and whatever its length."""
    pages, cursor = [], None
    while True:
        page, cursor = await ids(
            client, "/recommend/nobody", k=k, max_per_category=1, **({"cursor": cursor} if cursor else {})
        )
        pages.append(page)
        if cursor is None:
            break

    assert all(pages)
    assert sorted(item for page in pages for item in page) == ALL


async def test_contributions_of_the_history_add_up_to_the_score(client: httpx.AsyncClient) -> None:
    """Of a history of three, with their titles, the most first; items that speak against a place are not named."""
    history = ["i01", "i04", "i09"]
    answer = await client.post("/recommend", json={"history": history, "k": 9, "explain": True, "seen": "include"})

    whole = [item for item in answer.json()["items"] if len(item["reasons"]["liked"]) == 3]
    assert whole
    for item in whole:
        contributions = [liked["contribution"] for liked in item["reasons"]["liked"]]
        assert sum(contributions) == pytest.approx(item["score"], rel=1e-4)
        assert contributions == sorted(contributions, reverse=True)
        assert {liked["item_id"] for liked in item["reasons"]["liked"]} == set(history)
        assert item["reasons"]["liked"][0]["title"].startswith("Item ")
        assert item["reasons"]["modalities"] is None  # known items stand by their clicks
    assert all(liked["contribution"] > 0 for item in answer.json()["items"] for liked in item["reasons"]["liked"])


async def test_modalities_of_a_new_item_are_told_apart(client: httpx.AsyncClient) -> None:
    """The tests' encoder is a sum over modalities: what each contributes, and the bias, add up to the score."""
    body = {"item_id": "new", "modalities": {"text": [1.0, 2.0, 0.5, 1.0], "image": [1.0, -1.0, 2.0]}}
    await client.post("/items", json=body)
    await client.post("/items", json={"item_id": "bare"})

    answer = await client.post("/recommend", json={"history": ["i01"], "k": 50, "explain": True})

    found = {item["item_id"]: item for item in answer.json()["items"]}
    assert found["bare"]["reasons"]["modalities"] == {}
    modalities = found["new"]["reasons"]["modalities"]
    assert set(modalities) == {"image", "text"}
    assert sum(modalities.values()) + found["bare"]["score"] == pytest.approx(found["new"]["score"], rel=1e-4)
    without = await client.post("/items", json={**body, "modalities": {"text": body["modalities"]["text"]}})
    assert without.status_code == 200
    again = await client.post("/recommend", json={"history": ["i01"], "k": 50})
    score = next(item["score"] for item in again.json()["items"] if item["item_id"] == "new")
    assert found["new"]["score"] - modalities["image"] == pytest.approx(score, rel=1e-4)
    assert np.isfinite(score)


async def test_reasons_come_where_they_were_asked_for(client: httpx.AsyncClient) -> None:
    """Not otherwise, and not in popular lists, which have none; long lists are not explained."""
    plain = (await client.get("/recommend/u0")).json()["items"]
    popular = (await client.get("/recommend/nobody", params={"explain": "true"})).json()["items"]
    long = await client.get("/recommend/u0", params={"explain": "true", "k": 51})

    assert not any("reasons" in item for item in plain + popular)
    assert long.status_code == 422
    assert long.json()["errors"][0]["pointer"] == "/query/k"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("diversity", "1.1"),
        ("diversity", "-0.1"),
        ("diversity", "nan"),
        ("max_per_category", "0"),
        ("explain", "maybe"),
    ],
)
async def test_options_out_of_range_are_refused(client: httpx.AsyncClient, name: str, value: str) -> None:
    """With the parameter's place."""
    answer = await client.get("/recommend/u0", params={name: value})

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/query/{name}"]
