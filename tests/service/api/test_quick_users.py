"""How users are folded in on the short way to lists: not twice, and not where others wait for it."""

import threading
from typing import Any

import httpx
import pytest

from service import fast_path, users

pytestmark = pytest.mark.anyio


async def no_way(*_: object) -> None:
    """The short way is closed."""


class Folded:
    """The users who were folded in, with the threads that did it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.threads: set[int] = set()
        fold_in = users.find_user

        def noted(servable: Any, user_id: str, interactions: Any) -> Any:
            self.names.append(user_id)
            self.threads.add(threading.get_ident())
            return fold_in(servable, user_id, interactions)

        monkeypatch.setattr(fast_path, "find_user", noted)


@pytest.fixture
async def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of an app that knows what u0 and a stranger did."""
    for item_id in ("i05", "i07"):
        for user_id in ("u0", "stranger"):
            await client.post("/interactions", json={"user_id": user_id, "item_id": item_id})
            await client.get(f"/recommend/{user_id}")
    return client


@pytest.fixture
def folded(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> Folded:  # noqa: ARG001 - it is first
    """From now on."""
    return Folded(monkeypatch)


@pytest.mark.parametrize("user_id", ["u0", "stranger"])
async def test_who_asks_for_another_length_is_not_folded_in_again(
    client: httpx.AsyncClient, folded: Folded, user_id: str
) -> None:
    """Until they do something more; the lists are those of before, as far as they go."""
    asked = [(await client.get(f"/recommend/{user_id}?k={k}")).json()["items"] for k in (3, 3, 5, 4, 7)]
    before = list(folded.names)
    await client.post("/interactions", json={"user_id": user_id, "item_id": asked[0][0]["item_id"]})
    for k in (2, 2, 3):
        answer = await client.get(f"/recommend/{user_id}?k={k}")
    found = answer.json()["items"]

    assert all(items == asked[-1][: len(items)] for items in asked)
    assert len(before) <= 2
    assert len(before) < len(folded.names) <= len(before) + 2
    assert asked[0][0]["item_id"] not in {item["item_id"] for item in found}


@pytest.mark.parametrize("user_id", ["u0", "stranger"])
async def test_a_vector_that_is_at_hand_is_the_one_that_would_be_made(client: httpx.AsyncClient, user_id: str) -> None:
    """Also where items of the history are written anew in between."""
    for k in (3, 3, 4):
        await client.get(f"/recommend/{user_id}?k={k}")
    await client.patch("/items/i05", json={"modalities": {"text": [9.0, -2.0, 3.0, 1.0]}})
    await client.delete("/items/i07")

    found = (await client.get(f"/recommend/{user_id}?k=5")).json()["items"]
    with pytest.MonkeyPatch.context() as anew:
        anew.setattr(fast_path.FastPath, "quickly", no_way)
        expected = (await client.get(f"/recommend/{user_id}?k=6")).json()["items"]

    assert found == expected[:5]


async def test_those_who_did_much_are_folded_in_on_a_thread(
    client: httpx.AsyncClient, folded: Folded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop has others to answer; the lists are the same."""
    at_once = (await client.get("/recommend/stranger?k=3")).json()["items"]
    monkeypatch.setattr(users, "_FEW", 1)
    folded.threads.clear()
    await client.post("/interactions", json={"user_id": "stranger", "item_id": "i05"})

    answer = await client.get("/recommend/stranger?k=3")

    assert threading.get_ident() not in folded.threads
    assert folded.threads
    assert answer.json()["items"] == at_once
