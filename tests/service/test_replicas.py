"""Several services on one journal: what one of them writes, all of them show."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model_store import ModelStore
from service.settings import Settings

pytestmark = pytest.mark.anyio
TEXT, OTHER = [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]


@dataclass(frozen=True)
class Replicas:
    """Two services on one journal."""

    one: httpx.AsyncClient
    other: httpx.AsyncClient
    followed: Any


@pytest.fixture(params=["sqlite", "postgres"])
async def replicas(
    request: pytest.FixtureRequest, tmp_path: Path, published_store: ModelStore, run_app: Any
) -> AsyncIterator[Replicas]:
    """They look for each other's records so rarely that a test must ask for them."""
    is_file = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/journal.sqlite3" if is_file else request.getfixturevalue("postgres_url")
    shared = Settings(model_store=published_store.root, journal_url=url, follow_poll_s=3600, read_wait_s=30)
    async with run_app(shared) as one, run_app(shared) as other:
        yield Replicas(one.client, other.client, lambda: other.services.handle.current.followed)


async def put(client: httpx.AsyncClient, item_id: str, status: int, **facts: Any) -> str:
    """Posts an item; the number of its record."""
    answer = await client.post("/items", json={"item_id": item_id, **facts})
    assert answer.status_code == status, answer.text
    return answer.headers["X-Index-Seq"]


async def listed(client: httpx.AsyncClient, seq: str, **query: Any) -> set[str]:
    """What a session gets, once all up to a record is known."""
    body = {"history": ["i01"], "k": 100, **query}
    answer = await client.post("/recommend", json=body, headers={"X-Index-Seq": seq})
    assert answer.status_code == 200, answer.text
    return {item["item_id"] for item in answer.json()["items"]}


async def test_items_reach_the_other_replica(replicas: Replicas) -> None:
    """A new item, its change and its deletion are seen there by whoever names the record."""
    seq = await put(replicas.one, "new", 201, modalities={"text": TEXT}, categories=["a"])
    assert "new" in await listed(replicas.other, seq, category=["a"])
    answer = await replicas.one.patch("/items/new", json={"hidden": True})
    assert "new" not in await listed(replicas.other, answer.headers["X-Index-Seq"])
    found = (await replicas.other.get("/items/new")).json()
    assert (found["hidden"], found["encoding"]["present"]) == (True, ["text"])
    answer = await replicas.one.delete("/items/new")
    headers = {"X-Index-Seq": answer.headers["X-Index-Seq"]}
    assert (await replicas.other.get("/items/new", headers=headers)).status_code == 404


async def test_both_rank_alike(replicas: Replicas) -> None:
    """The same list comes from both."""
    seq = await put(replicas.one, "new", 201, modalities={"text": TEXT})
    body, headers = {"history": ["i01", "new"], "k": 100, "seen": "include"}, {"X-Index-Seq": seq}

    lists = [
        (await client.post("/recommend", json=body, headers=headers)).json()["items"]
        for client in (replicas.one, replicas.other)
    ]

    assert lists[0] == lists[1]


async def test_interactions_count_on_the_other_replica(replicas: Replicas) -> None:
    """At once to a read with X-Index-Seq, also where that replica has answered for the user before."""
    assert (await replicas.other.get("/recommend/u?k=100")).json()["strategy"] == "popular"
    noted = await replicas.one.post("/interactions", json={"user_id": "u", "item_id": "i03", "event_id": "e"})
    again = await replicas.other.post("/interactions", json={"user_id": "u", "item_id": "i03", "event_id": "e"})
    assert (again.json()["accepted"], again.json()["repeated"]) == (0, 1)
    token = {"X-Index-Seq": noted.headers["X-Index-Seq"]}
    answer = (await replicas.other.get("/recommend/u?k=100", headers=token)).json()
    assert answer["strategy"] == "personal"
    assert "i03" not in {item["item_id"] for item in answer["items"]}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("user_id", ["u0", "stranger"])
async def test_interactions_reach_the_other_replica_by_themselves(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    published_store: ModelStore,
    run_app: Any,
    database: str,
    user_id: str,
) -> None:
    """Each soon shows what the other wrote, also of a user whose history it had at hand; and that it was erased."""
    is_file = database == "sqlite"
    url = f"sqlite:///{tmp_path}/journal.sqlite3" if is_file else request.getfixturevalue("postgres_url")
    shared = Settings(model_store=published_store.root, journal_url=url, follow_poll_s=0.02)

    async def lists(client: httpx.AsyncClient, item_id: str) -> bool:
        answer = await client.get(f"/recommend/{user_id}?k=100")
        assert answer.status_code == 200
        return item_id in {item["item_id"] for item in answer.json()["items"]}

    async def until_listed(client: httpx.AsyncClient, item_id: str, *, expected: bool) -> None:
        with anyio.fail_after(30):
            while True:
                if await lists(client, item_id) == expected:
                    return
                await anyio.sleep(0.005)

    async with run_app(shared) as one, run_app(shared) as other:
        for writer, reader, item_id in ((one, other, "i05"), (other, one, "i06"), (one, other, "i07")):
            assert await lists(reader.client, item_id)  # from now on the history is at hand
            body = {"user_id": user_id, "item_id": item_id}
            assert (await writer.client.post("/interactions", json=body)).status_code == 202
            assert not await lists(writer.client, item_id)
            await until_listed(reader.client, item_id, expected=False)
        assert (await other.client.delete(f"/users/{user_id}")).status_code == 204
        assert await lists(other.client, "i05")
        await until_listed(one.client, "i05", expected=True)


async def test_repetitions_count_where_they_are_answered(replicas: Replicas) -> None:
    """A client that repeats an event on the other replica finds it in its lists there, without naming a record."""
    assert (await replicas.other.get("/recommend/u0?k=100")).status_code == 200
    event = {"user_id": "u0", "item_id": "i07", "event_id": "e"}
    for client in (replicas.one, replicas.other):
        assert (await client.post("/interactions", json=event)).status_code == 202

    answer = (await replicas.other.get("/recommend/u0?k=100")).json()

    assert "i07" not in {item["item_id"] for item in answer["items"]}


async def test_records_that_were_never_written_are_not_waited_for(replicas: Replicas) -> None:
    """No replica will ever have them: 422, which names the header."""
    answer = await replicas.other.get("/recommend/u", headers={"X-Index-Seq": "7"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/header/X-Index-Seq", "detail": "there is no record 7: the last one is 0"}
    ]


async def test_records_that_do_not_arrive_in_time_are_said_to_be_late(
    tmp_path: Path, published_store: ModelStore, run_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and that it may be asked again."""
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    impatient = Settings(model_store=published_store.root, journal_url=url, read_wait_s=0.05, follow_poll_s=3600)
    async with run_app(impatient) as one, run_app(impatient) as other:
        seq = await put(one.client, "new", 201)

        async def nothing() -> None:
            """Does not catch up."""

        monkeypatch.setattr(other.services.others, "catch_up", nothing)
        answer = await other.client.get("/recommend/u", headers={"X-Index-Seq": seq})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:i3rec:problem:not-reached-yet")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("token", ["-1", "x", "1.5", str(2**63)])
async def test_tokens_that_are_none_are_refused(replicas: Replicas, token: str) -> None:
    """With the name of the header."""
    answer = await replicas.one.get("/recommend/u", headers={"X-Index-Seq": token})
    assert answer.status_code == 422
    assert [error["pointer"].lower() for error in answer.json()["errors"]] == ["/header/x-index-seq"]


async def test_patches_on_both_replicas_all_have_their_effect(replicas: Replicas) -> None:
    """None is lost, though neither replica has seen those of the other when it begins."""
    await put(replicas.one, "new", 201)
    async with anyio.create_task_group() as tasks:
        for n in range(6):
            client = replicas.one if n % 2 else replicas.other
            tasks.start_soon(partial(client.patch, "/items/new", json={"attributes": {f"a{n}": n}}))
    seq = (await replicas.one.patch("/items/new", json={"title": "t"})).headers["X-Index-Seq"]

    found = (await replicas.other.get("/items/new", headers={"X-Index-Seq": seq})).json()

    assert found["attributes"] == {f"a{n}": n for n in range(6)}


async def test_conditions_hold_against_the_other_replica(replicas: Replicas) -> None:
    """A replica that has not seen the latest record does not write over it."""
    seq = await put(replicas.one, "new", 201, title="first")
    await replicas.other.get("/items/new", headers={"X-Index-Seq": seq})
    await put(replicas.one, "new", 200, title="second")

    late = await replicas.other.post("/items", json={"item_id": "new"}, headers={"If-Match": f'"{seq}"'})
    gone = await replicas.other.delete("/items/new", headers={"If-Match": f'"{seq}"'})

    assert (late.status_code, gone.status_code) == (412, 412)
    assert (await replicas.one.get("/items/new")).json()["title"] == "second"


async def test_features_stand_only_if_no_other_replica_changed_them(replicas: Replicas) -> None:
    """An item posted as this replica still knows it, but as it no longer is, is encoded from what was posted."""
    seq = await put(replicas.one, "new", 201, modalities={"text": TEXT})
    await listed(replicas.other, seq)
    await put(replicas.one, "new", 200, modalities={"text": OTHER})

    seq = await put(replicas.other, "new", 200, modalities={"text": TEXT})

    vectors = []
    for client in (replicas.one, replicas.other):
        page = (await client.get("/items?features=true&limit=100", headers={"X-Index-Seq": seq})).json()
        vectors.append(next(item["modalities"] for item in page["items"] if item["item_id"] == "new"))
        await listed(client, seq)
    assert vectors[0] == vectors[1]


async def test_own_writes_are_created_also_while_others_are_followed(
    tmp_path: Path, published_store: ModelStore, run_app: Any
) -> None:
    """What a service writes itself is never taken for another's: a new item is answered 201, once."""
    url = f"sqlite:///{tmp_path}/journal.sqlite3"
    shared = Settings(model_store=published_store.root, journal_url=url, follow_poll_s=0.001)
    async with run_app(shared) as one, run_app(shared) as other:
        statuses: list[int] = []

        async def write(client: httpx.AsyncClient, name: str) -> None:
            statuses.append((await client.post("/items", json={"item_id": name})).status_code)

        async with anyio.create_task_group() as tasks:
            for n in range(40):
                tasks.start_soon(write, (one if n % 2 else other).client, f"new {n}")
        last = {"X-Index-Seq": "40"}
        pages = [(await each.client.get("/items?limit=100", headers=last)).json()["items"] for each in (one, other)]

    assert statuses == [201] * 40
    assert pages[0] == pages[1]
    assert len(pages[0]) == 12 + 40


WRITES = st.tuples(
    st.booleans(), st.sampled_from(["i01", "i02", "new"]), st.sampled_from([None, {}, {"text": TEXT}, {"text": OTHER}])
)


@settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(writes=st.lists(WRITES, max_size=8))
async def test_any_course_of_writes_leaves_the_replicas_alike(
    tmp_path_factory: pytest.TempPathFactory, published_store: ModelStore, run_app: Any, writes: list[Any]
) -> None:
    """Both, and one that starts afterwards, give the same lists with the same scores."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shared')}/journal.sqlite3"
    shared = Settings(model_store=published_store.root, journal_url=url, follow_poll_s=3600)
    body = {"history": ["i03", "i04"], "k": 100, "seen": "include"}
    async with run_app(shared) as one, run_app(shared) as other:
        seq = "0"
        for first, item_id, modalities in writes:
            client = (one if first else other).client
            request = {"item_id": item_id, "modalities": modalities}
            if modalities is None:
                answer = await client.delete(f"/items/{item_id}")
            else:
                answer = await client.post("/items", json=request)
            assert answer.status_code in {200, 201, 204, 404}
            seq = answer.headers.get("X-Index-Seq", seq)
        async with run_app(shared) as late:
            answers = [
                (await each.client.post("/recommend", json=body, headers={"X-Index-Seq": seq})).json()["items"]
                for each in (one, other, late)
            ]
    assert answers[0] == answers[1] == answers[2]
