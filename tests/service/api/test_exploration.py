"""New items in lists over HTTP: their share of the places, and what is counted."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from model_store import ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio


async def put_new(client: httpx.AsyncClient, *names: str) -> None:
    """Puts items, one after the other."""
    for name in names:
        assert (await client.post("/items", json={"item_id": name})).status_code == 201


async def ids(client: httpx.AsyncClient, path: str, **query: Any) -> list[str]:
    """A list."""
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    scores = [item["score"] for item in answer.json()["items"]]
    assert scores == sorted(scores, reverse=True)
    return [item["item_id"] for item in answer.json()["items"]]


def new_of(items: list[str]) -> list[str]:
    """The new ones."""
    return [item_id for item_id in items if not item_id.startswith("i")]


async def shown(client: httpx.AsyncClient) -> dict[str, float]:
    """Impressions so far."""
    lines = (await client.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith("i3rec_impressions_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in found}


async def test_impressions_are_counted_by_kind(client: httpx.AsyncClient) -> None:
    """Every place in every list that was answered; places asked for and not filled are none."""
    await put_new(client, "a", "b")

    await client.get("/recommend/nobody?k=6")
    await client.get("/recommend/u0?k=100")
    await client.get("/items/i03/similar?k=100")
    await client.post("/recommend", json={"history": ["i03", "a"], "k": 100})
    await client.post("/recommend/batch", json={"users": ["nobody", "nobody"], "k": 5})
    await client.get("/recommend/nobody?k=0")

    assert await shown(client) == {"new": 1 + 2 + 2 + 1 + 2, "trained": 5 + 10 + 11 + 11 + 8}


async def test_new_items_take_turns_in_popular_lists(client: httpx.AsyncClient) -> None:
    """Each fifth place goes to the one that was shown least, in whatever list that was."""
    await put_new(client, "a", "b", "c")

    turns = [new_of(await ids(client, "/recommend/nobody", k=5)) for _ in range(6)]
    only = await ids(client, "/recommend/u0", k=100, exclude=[f"i{n:02}" for n in range(12)] + ["a"])

    assert turns == [["c"], ["b"], ["a"]] * 2
    assert {*only} == {"b", "c"}
    assert new_of(await ids(client, "/recommend/nobody", k=5)) == ["a"]


async def test_counts_are_inherited_by_the_next_version(
    client: httpx.AsyncClient, published_store: ModelStore, make_version: Callable[..., None]
) -> None:
    """Whose turn it is does not depend on which model serves."""
    await put_new(client, "a", "b", "c")
    for _ in range(2):
        await ids(client, "/recommend/nobody", k=5)
    make_version(published_store, "v2", seed=3, promote=False)
    await client.post("/models/v2/activate")

    assert [new_of(await ids(client, "/recommend/nobody", k=5)) for _ in range(3)] == [["a"], ["c"], ["b"]]


async def test_personal_lists_keep_places_for_new_items(run_app: Any, settings: Settings) -> None:
    """A share of them, the best of the new ones; sessions and similar items too; the length is the same."""
    async with run_app(settings) as running:
        await put_new(running.client, "a")
        body = {"item_id": "b", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}}
        await running.client.post("/items", json=body)
        plain = await ids(running.client, "/recommend/u0", k=100)
    async with run_app(settings.model_copy(update={"explore_share": 0.25})) as running:
        client = running.client
        shared = await ids(client, "/recommend/u0", k=4)
        both = await ids(client, "/recommend/u0", k=8)
        session = (await client.post("/recommend", json={"history": ["i03"], "k": 4})).json()["items"]
        beside = await ids(client, "/items/i03/similar", k=4)
        none = await ids(client, "/recommend/u0", k=3)
        excluded = await ids(client, "/recommend/u0", k=4, exclude=["a", "b"])
        await client.post("/interactions", json={"user_id": "u0", "item_id": "a"})
        await client.patch("/items/b", json={"hidden": True})
        seen = await ids(client, "/recommend/u0", k=4)

    best = new_of(plain)
    assert len(best) == 2
    assert (len(shared), len(both), len(session), len(beside)) == (4, 8, 4, 4)
    assert new_of(shared)[:1] == best[:1]
    assert new_of(both) == best
    assert new_of([item["item_id"] for item in session])
    assert new_of(beside)
    assert none == plain[:3]
    assert new_of(excluded) == new_of(seen) == []
    assert len(excluded) == len(seen) == 4


async def test_pages_with_reserved_places_hold_everything_once(run_app: Any, settings: Settings) -> None:
    """Who gave way comes later."""
    async with run_app(settings.model_copy(update={"explore_share": 0.5})) as running:
        await put_new(running.client, "a", "b", "c")
        query: dict[str, Any] = {"k": 2}
        pages = []
        while True:
            answer = (await running.client.get("/recommend/u0", params=query)).json()
            pages.append([item["item_id"] for item in answer["items"]])
            if answer["next_cursor"] is None:
                break
            query["cursor"] = answer["next_cursor"]

    assert all(new_of(page) for page in pages[:3])
    assert sorted(item_id for page in pages for item_id in page) == [
        *"abc",
        *[f"i{n:02}" for n in range(2, 12)],
    ]


async def test_items_are_tried_so_often_and_no_more(run_app: Any, settings: Settings) -> None:
    """Then they stand for themselves: in popular lists behind the trained ones."""
    async with run_app(settings.model_copy(update={"explore_impressions": 2})) as running:
        await put_new(running.client, "a", "b")
        turns = [new_of(await ids(running.client, "/recommend/nobody", k=5)) for _ in range(5)]
        last = await ids(running.client, "/recommend/nobody", k=100)
        await put_new(running.client, "c")
        again = new_of(await ids(running.client, "/recommend/nobody", k=5))

    assert turns == [["b"], ["a"], ["b"], ["a"], []]
    assert last[-2:] == ["b", "a"]
    assert again == ["c"]


@pytest.mark.parametrize(
    "facts", [{"explore_share": -0.1}, {"explore_share": 0.6}, {"explore_impressions": -1}, {"max_page_items": 0}]
)
def test_settings_out_of_range_are_refused(settings: Settings, facts: dict[str, float]) -> None:
    """At most half of a list is for trying."""
    with pytest.raises(ValueError, match=next(iter(facts))):
        Settings(**{**settings.model_dump(), **facts})
