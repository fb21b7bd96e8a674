"""Plain requests for lists take a short way, and nobody can tell by the answer."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from model_store import ModelStore
from service.adapters.segmented_index import SegmentedIndex
from service.api import guard, quick
from service.histories import Histories
from service.queries import Hit, Query
from service.settings import Settings

pytestmark = pytest.mark.anyio
WAIT_S = 30
ROUTE = "/recommend/{user_id}"


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of requests that went the ordinary way."""
    paths, passed_on = [], guard.SoundPaths.__call__

    async def noted(self: guard.SoundPaths, scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope.get("path", ""))
        await passed_on(self, scope, receive, send)

    monkeypatch.setattr(guard.SoundPaths, "__call__", noted)
    return paths


class Gate:
    """Holds every search until it opens, or makes it fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.searching = threading.Event()
        self.failure: Exception | None = None
        search_many = SegmentedIndex.search_many

        def held(index: SegmentedIndex, queries: Sequence[Query]) -> list[list[Hit]]:
            self.searching.set()
            assert self.opened.wait(WAIT_S)
            if self.failure:
                raise self.failure
            return search_many(index, queries)

        monkeypatch.setattr(SegmentedIndex, "search_many", held)
        monkeypatch.setattr(SegmentedIndex, "recall", lambda *_: None)  # every request searches

    def close(self) -> None:
        """Holds searches from now on."""
        self.opened.clear()
        self.searching.clear()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate before every index, open at first, and at the end."""
    made = Gate(monkeypatch)
    yield made
    made.opened.set()


async def until_short(client: httpx.AsyncClient, ordinary: list[str], status: int = 200, **how: Any) -> None:
    """Waits until the short way is open to all: until it is known who is in the journal, also of nobody asked about."""
    with anyio.fail_after(WAIT_S), pytest.MonkeyPatch.context() as forgetful:
        forgetful.setattr(Histories, "_keep", lambda *_: None)  # what was read once would be at hand before the rest
        while True:
            ordinary.clear()
            answer = await client.get("/recommend/u5?k=1", **how)
            if not ordinary and answer.status_code == status:
                return
            await anyio.sleep(0.005)


@pytest.fixture
async def short(client: httpx.AsyncClient, ordinary: list[str]) -> httpx.AsyncClient:
    """A client of an app whose short way is open."""
    await until_short(client, ordinary)
    return client


def said(answer: httpx.Response) -> tuple[Any, ...]:
    """An answer without what differs from request to request."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "server-timing"}}
    assert answer.headers["x-request-id"]
    body = answer.json() if answer.content else None
    names = ("request_id", "instance")
    if body is not None:
        assert answer.headers["x-request-id"] in [body.pop(name) for name in names if name in body]
        headers.pop("content-length")  # the id's length is the caller's
    return answer.status_code, headers, body


async def both_ways(client: httpx.AsyncClient, *request: Any, **how: Any) -> tuple[Any, Any]:
    """The answer as it is, and as it is where no request is plain enough for the short way."""
    found = said(await client.request(*request, **how))
    with pytest.MonkeyPatch.context() as closed:
        closed.setattr(quick.QuickLists, "_wish", lambda *_: None)
        return found, said(await client.request(*request, **how))


# The short way


@pytest.mark.parametrize("query", ["", "?", "?k=1", "?k=3", "?k=11", "?k=100", "?k=500"])
async def test_trained_users_get_the_same_by_both_ways(
    short: httpx.AsyncClient, ordinary: list[str], query: str
) -> None:
    """Status, headers and every field but the request's own id."""
    found, expected = await both_ways(short, "GET", f"/recommend/u0{query}")
    assert ordinary == ["/recommend/u0"]  # the second of the two

    assert found == expected
    assert found[0] == 200
    assert set(found[1]) == {"content-type", "x-model-version"}
    assert found[2]["strategy"] == "personal"


@pytest.mark.parametrize("other", ["diversity=0", "min_score=-1e30", "explain=false", "strict=true", "seen=exclude"])
async def test_other_parameters_that_ask_for_the_same_give_the_same(
    short: httpx.AsyncClient, ordinary: list[str], other: str
) -> None:
    """Whichever way the list is made."""
    plain = said(await short.get("/recommend/u1?k=4"))
    assert ordinary == []

    assert said(await short.get(f"/recommend/u1?k=4&{other}")) == plain
    assert ordinary == ["/recommend/u1"]


async def test_several_users_at_once_get_the_same(short: httpx.AsyncClient) -> None:
    """Lists asked for together are those that are asked for one by one."""
    users = [f"u{n}" for n in range(6)]
    together = (await short.post("/recommend/batch", json={"users": users, "k": 5})).json()["results"]
    found = []

    async with anyio.create_task_group() as tasks:
        for user in users:

            async def ask(user: str = user) -> None:
                found.append((await short.get(f"/recommend/{user}?k=5")).json())

            tasks.start_soon(ask)

    for each in found:
        del each["request_id"]
    assert sorted(found, key=lambda each: each["user_id"]) == together


async def test_what_users_do_counts_by_the_short_way(short: httpx.AsyncClient, ordinary: list[str]) -> None:
    """At once, for users of the model and for strangers, and so does its erasure."""
    for user in ("u0", "stranger"):
        body = [{"user_id": user, "item_id": item_id} for item_id in ("i07", "i08")]
        assert (await short.post("/interactions", json=body)).status_code == 202
        ordinary.clear()

        found = (await short.get(f"/recommend/{user}?k=100")).json()

        assert ordinary == []
        assert found["strategy"] == "personal"
        assert not {"i07", "i08"} & {item["item_id"] for item in found["items"]}
        await short.delete(f"/users/{user}")
        found = (await short.get(f"/recommend/{user}?k=100")).json()
        assert {"i07", "i08"} <= {item["item_id"] for item in found["items"]}


@pytest.mark.parametrize(
    "body", [{"title": "new"}, {"modalities": {"text": [9.0, 9.0, 9.0, 9.0]}}], ids=["title", "text"]
)
async def test_seen_items_stay_away_when_they_are_written_again(short: httpx.AsyncClient, body: Any) -> None:
    """What the user has seen is none of a list that is made up for what was written since."""
    await short.post("/items", json={"item_id": "new", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}})
    for item_id in ("i05", "new"):
        await short.post("/interactions", json={"user_id": "u0", "item_id": item_id})
    for _ in range(3):
        await short.get("/recommend/u0?k=3")

    for item_id in ("i05", "new"):
        assert (await short.patch(f"/items/{item_id}", json=body)).is_success
        for _ in range(2):
            quick_one, ordinary_one = await both_ways(short, "GET", "/recommend/u0?k=3")

            assert quick_one == ordinary_one
            assert not {"i05", "new"} & {item["item_id"] for item in quick_one[2]["items"]}


async def test_histories_that_are_not_at_hand_are_read_first(
    run_app: Any, settings: Settings, ordinary: list[str]
) -> None:
    """After a restart the first list of a user goes the ordinary way, the next ones the short one, with one answer."""
    async with run_app(settings) as before:
        body = {"user_id": "u0", "item_id": "i07"}
        assert (await before.client.post("/interactions", json=body)).status_code == 202
    async with run_app(settings) as after:
        await until_short(after.client, ordinary)
        found = [said(await after.client.get("/recommend/u0?k=100")) for _ in range(3)]

    assert ordinary == ["/recommend/u0"]
    assert found[0] == found[1] == found[2]
    assert "i07" not in {item["item_id"] for item in found[0][2]["items"]}


async def test_changes_of_items_count_by_the_short_way(short: httpx.AsyncClient) -> None:
    """A hidden item is not in the next list, nor is one that was deleted; a new one may be."""
    first, second = [item["item_id"] for item in (await short.get("/recommend/u0?k=2")).json()["items"]]
    await short.patch(f"/items/{first}", json={"hidden": True})
    await short.delete(f"/items/{second}")
    await short.post("/items", json={"item_id": "new", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}})

    found, expected = await both_ways(short, "GET", "/recommend/u0?k=100")

    assert found == expected
    listed = {item["item_id"] for item in found[2]["items"]}
    assert not {first, second} & listed
    assert "new" in listed


CHANGES: dict[str, list[tuple[str, str, Any]]] = {  # in which the numbers are places of a list
    "title": [("PATCH", "/items/{0}", {"title": 'A "new" one'})],
    "hidden": [("PATCH", "/items/{1}", {"hidden": True})],
    "shown again": [("PATCH", "/items/{1}", {"hidden": True}), ("PATCH", "/items/{1}", {"hidden": False})],
    "deleted": [("DELETE", "/items/{2}", None)],
    "features": [("PATCH", "/items/{0}", {"modalities": {"text": [9.0, -2.0, 3.0, 1.0]}})],
    "new": [("POST", "/items", {"item_id": "new", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}})],
    "elsewhere": [("PATCH", "/items/{6}", {"title": "Not on this page"})],
    "seen": [("POST", "/interactions", {"user_id": "u0", "item_id": "i07"})],
    "seen by others": [("POST", "/interactions", {"user_id": "u1", "item_id": "i07"})],
}


@pytest.mark.parametrize("change", CHANGES)
async def test_lists_that_are_given_again_are_those_that_would_be_made(
    short: httpx.AsyncClient, ordinary: list[str], change: str
) -> None:
    """Byte for byte but for the request's id, however often they were given before and after something is written."""
    mine = {"X-Request-Id": 'my "own"'}
    listed = [item["item_id"] for item in (await short.get("/recommend/u0?k=100")).json()["items"]]
    written = [(method, path.format(*listed), body) for method, path, body in CHANGES[change]]
    for requests in ([], written, written[::-1], []):
        for method, path, body in requests:
            await short.request(method, path, json=body)
        for k in (4, 4, 4, 6):
            ordinary.clear()
            found = await short.get(f"/recommend/u0?k={k}", headers=mine)
            assert ordinary == []
            assert found.content == (await short.get(f"/recommend/u0?k={k}&min_score=-1e30", headers=mine)).content


async def test_lists_of_written_items_are_given_again_until_these_change(
    short: httpx.AsyncClient, ordinary: list[str]
) -> None:
    """Whatever is written elsewhere meanwhile, the list is the one that would be made."""
    mine = {"X-Request-Id": "mine"}
    for title in (None, "one", "two", None):
        await short.post(
            "/items", json={"item_id": "new", "title": title, "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}}
        )
        for elsewhere in range(3):
            await short.post("/items", json={"item_id": f"other-{elsewhere}", "hidden": True})
            for _ in range(3):
                ordinary.clear()
                found = await short.get("/recommend/u0?k=100", headers=mine)
                assert ordinary == []
                assert found.content == (await short.get("/recommend/u0?k=100&min_score=-1e30", headers=mine)).content
                assert {"new": title}.items() <= {
                    item["item_id"]: item["title"] for item in found.json()["items"]
                }.items()


async def test_lists_follow_what_users_like(short: httpx.AsyncClient) -> None:
    """Whoever likes an item that the model does not know has another vector once it is encoded anew."""
    await short.post("/items", json={"item_id": "new", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}})
    await short.post("/interactions", json={"user_id": "u0", "item_id": "new"})
    before = [(await short.get("/recommend/u0?k=4")).json()["items"] for _ in range(4)]

    await short.patch("/items/new", json={"modalities": {"text": [-4.0, -1.0, 2.0, -9.0]}})

    after = [(await short.get("/recommend/u0?k=4")).json()["items"] for _ in range(4)]
    made = (await short.get("/recommend/u0?k=4&min_score=-1e30")).json()["items"]
    assert before == before[:1] * 4
    assert after == [made] * 4
    assert after != before


async def test_what_comes_to_belong_into_a_list_is_in_it(short: httpx.AsyncClient, ordinary: list[str]) -> None:
    """Though nothing that was in it is spoken of, and it was given again before."""
    before = [(await short.get("/recommend/u0?k=3")).json()["items"] for _ in range(4)]
    far = [[20.0 * (1 - 2 * (n >> place & 1)) for place in range(4)] for n in range(16)]  # in all directions

    for number, text in enumerate(far):
        await short.post("/items", json={"item_id": f"far-{number}", "modalities": {"text": text}})
        ordinary.clear()
        after = (await short.get("/recommend/u0?k=3")).json()["items"]
        assert ordinary == []
        assert after == (await short.get("/recommend/u0?k=3&min_score=-1e30")).json()["items"]

    assert before == before[:1] * 4
    assert {item["item_id"] for item in after} <= {f"far-{number}" for number in range(16)}


async def test_what_expires_is_not_given_again(short: httpx.AsyncClient, ordinary: list[str]) -> None:
    """Time passes without anything being written."""
    first = (await short.get("/recommend/u0?k=3")).json()["items"][0]["item_id"]
    expiry = datetime.now(UTC) + timedelta(seconds=1)
    assert (await short.patch(f"/items/{first}", json={"expires_at": expiry.isoformat()})).is_success
    ordinary.clear()
    while True:
        begun = datetime.now(UTC)
        found = (await short.get("/recommend/u0?k=3")).json()["items"]
        if begun >= expiry:
            break

    assert ordinary == []
    assert first not in {item["item_id"] for item in found}


async def test_lists_given_again_count_as_shown(running: Any, short: httpx.AsyncClient) -> None:
    """New items on them as well, for whom it decides whose turn it is."""
    await short.post("/items", json={"item_id": "new", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}})
    registry = running.services.metrics.registry

    def counted() -> list[float]:
        shown = [registry.get_sample_value("i3rec_impressions_total", {"item": item}) for item in ("new", "trained")]
        known = registry.get_sample_value("i3rec_search_recalls_total", {"known": "yes"})
        return [*shown, known, registry.get_sample_value("i3rec_recommendations_total", {"strategy": "personal"})]

    places = len((await short.get("/recommend/u0?k=100")).json()["items"])
    await short.get("/recommend/u0?k=100")
    before = counted()
    for _ in range(3):
        await short.get("/recommend/u0?k=100")

    assert [now - then for now, then in zip(counted(), before, strict=True)] == [3, 3 * (places - 1), 3, 3]


async def test_metrics_and_timing_tell_of_both_ways_alike(running: Any, short: httpx.AsyncClient) -> None:
    """Under the route's template, with the time of the search; request ids of callers are taken over."""
    labels = {"method": "GET", "route": ROUTE, "status": "200"}
    registry = running.services.metrics.registry
    lists = {"strategy": "personal"}
    before = registry.get_sample_value("i3rec_http_requests_total", labels)
    lists_before = registry.get_sample_value("i3rec_recommendations_total", lists)
    answers = [
        await short.get(f"/recommend/u0?k=3{more}", headers={"X-Request-Id": "mine"}) for more in ("", "&min_score=-9")
    ]

    for answer in answers:
        assert [part.partition(";dur=")[0] for part in answer.headers["server-timing"].split(", ")] == [
            "search",
            "total",
        ]
        assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("mine", "mine")
    assert registry.get_sample_value("i3rec_http_requests_total", labels) == before + 2
    assert registry.get_sample_value("i3rec_recommendations_total", lists) == lists_before + 2


# What goes the ordinary way

LONG = "x" * 257


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/recommend/nobody?k=3", 200),
        ("GET", "/recommend/a/b?k=3", 200),
        ("GET", "/recommend/a%2Fb?k=3", 200),
        ("GET", "/recommend/u0/similar", 200),
        ("GET", "/recommend/batch", 200),
        ("GET", "/recommend/%20", 200),
        ("GET", "/recommend/u0%20", 200),
        ("GET", "/recommend/%C3%A4?k=3", 200),
        ("GET", "/recommend/u0?k=3&k=3", 422),
        ("GET", "/recommend/u0?k=0", 422),
        ("GET", "/recommend/u0?k=-1", 422),
        ("GET", "/recommend/u0?k=501", 422),
        ("GET", "/recommend/u0?k=1000000", 422),
        ("GET", "/recommend/u0?k=" + "9" * 5000, 422),
        ("GET", "/recommend/u0?k=", None),
        ("GET", "/recommend/u0?k=03", None),
        ("GET", "/recommend/u0?k=3.0", None),
        ("GET", "/recommend/u0?k=%33", 200),
        ("GET", "/recommend/u0?%6B=3", 200),
        ("GET", "/recommend/u0?k=3&", None),
        ("GET", "/recommend/u0?K=3", 422),
        ("GET", "/recommend/u0?k=3&colour=red", 422),
        ("GET", "/recommend/u0?k=3&exclude=i05", 200),
        ("GET", "/recommend/u0?k=3&explain=true", 200),
        ("GET", "/recommend/u0?k=3&model=v1", 200),
        ("GET", "/recommend/u0?k=3&model=v9", 409),
        ("GET", "/recommend/nobody?strict=true", 404),
        ("GET", "/recommend/", None),
        ("GET", "/recommend", None),
        ("GET", f"/recommend/{LONG}", 422),
        ("GET", "/recommend/u0%0A", 422),
        ("GET", "/recommend/u0%00", 422),
        ("GET", "/recommend/%7F", 422),
        ("GET", "/recommend/%C2%85", 422),
        ("HEAD", "/recommend/u0?k=3", 200),
        ("POST", "/recommend/u0?k=3", 405),
        ("DELETE", "/recommend/u0", 405),
        ("OPTIONS", "/recommend/u0", 405),
    ],
)
async def test_whatever_is_not_plain_is_answered_as_ever(
    short: httpx.AsyncClient, ordinary: list[str], method: str, target: str, status: int | None
) -> None:
    """By the ordinary way, whose answer it is."""
    found, expected = await both_ways(short, method, target)

    assert found == expected
    assert status in {found[0], None}
    assert len(ordinary) == 2


@pytest.mark.parametrize(
    ("headers", "status"), [({"X-Index-Seq": "0"}, 200), ({"x-index-seq": "7"}, 422), ({"X-INDEX-SEQ": "x"}, 422)]
)
async def test_named_records_are_waited_for(
    short: httpx.AsyncClient, ordinary: list[str], headers: dict[str, str], status: int
) -> None:
    """A request that names one goes the ordinary way."""
    found, expected = await both_ways(short, "GET", "/recommend/u0?k=3", headers=headers)

    assert found == expected
    assert (found[0], len(ordinary)) == (status, 2)


async def test_bodies_are_bounded_also_where_none_is_expected(
    run_app: Any, settings: Settings, ordinary: list[str]
) -> None:
    """A list is no way past the limit."""
    async with run_app(settings.model_copy(update={"max_body_bytes": 10})) as running:
        await until_short(running.client, ordinary)
        for body, status in ((b"x" * 11, 413), (b"x", 200)):
            found, expected = await both_ways(running.client, "GET", "/recommend/u0?k=3", content=body)
            assert found == expected
            assert found[0] == status


async def test_lists_with_places_for_new_items_go_the_ordinary_way(
    run_app: Any, settings: Settings, ordinary: list[str]
) -> None:
    """Where a share is reserved for them; where it makes no whole place, the short way is open."""
    async with run_app(settings.model_copy(update={"explore_share": 0.25})) as running:
        await until_short(running.client, ordinary)
        found, expected = await both_ways(running.client, "GET", "/recommend/u0?k=8")

    assert found == expected
    assert len(ordinary) == 2


# Refusals


async def test_without_a_model_there_is_no_list(tmp_path: Any, run_app: Any, ordinary: list[str]) -> None:
    """503 by both ways, and when to come again."""
    empty = Settings(model_store=ModelStore(tmp_path / "none").root, journal_url=f"sqlite:///{tmp_path}/j.sqlite3")
    async with run_app(empty) as running:
        await until_short(running.client, ordinary, 503)
        found, expected = await both_ways(running.client, "GET", "/recommend/u0?k=3")

    assert found == expected
    assert (found[0], found[2]["type"]) == (503, "urn:i3rec:problem:model-unavailable")
    assert found[1]["retry-after"] == "2"


async def test_too_many_are_told_to_come_again(
    run_app: Any, settings: Settings, ordinary: list[str], gate: Gate
) -> None:
    """503 with Retry-After while one search runs and one waits; those two are answered."""
    async with run_app(
        settings.model_copy(update={"max_waiting": 1, "search_threads": 1, "search_at_once_ms": 0})
    ) as running:
        await until_short(running.client, ordinary)
        gate.close()
        found: list[httpx.Response] = []

        async def ask(user: str) -> None:
            found.append(await running.client.get(f"/recommend/{user}?k=3"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "u0")
            await anyio.to_thread.run_sync(gate.searching.wait, WAIT_S)
            tasks.start_soon(ask, "u1")
            await anyio.wait_all_tasks_blocked()
            refused = await running.client.get("/recommend/u2?k=3")
            gate.opened.set()

    assert (refused.status_code, refused.json()["type"]) == (503, "urn:i3rec:problem:overloaded")
    assert refused.headers["retry-after"] == "2"
    assert refused.headers["content-type"] == "application/problem+json"
    assert [answer.status_code for answer in found] == [200, 200]
    assert ordinary == []


async def test_late_answers_are_refused(run_app: Any, settings: Settings, ordinary: list[str], gate: Gate) -> None:
    """504 after the deadline, as by the ordinary way; once searches are quick again, lists come again."""
    async with run_app(settings.model_copy(update={"deadline_s": 0.3, "search_at_once_ms": 0})) as running:
        await until_short(running.client, ordinary)
        gate.close()
        found = said(await running.client.get("/recommend/u0?k=3"))
        assert ordinary == []
        expected = said(await running.client.get("/recommend/u0?k=3&diversity=0"))
        gate.opened.set()
        await until_short(running.client, ordinary)

    assert found == expected
    assert (found[0], found[2]["type"]) == (504, "urn:i3rec:problem:deadline-exceeded")
    assert found[2]["detail"] == "expected an answer within 0.3 s"


async def test_failing_index_is_answered_without_internals(
    running: Any, short: httpx.AsyncClient, ordinary: list[str], gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """500 by both ways, logged and counted under the route; what the short way cannot do the ordinary one tries."""
    gate.failure = RuntimeError("index broke")
    found, expected = await both_ways(short, "GET", "/recommend/u0?k=3")
    assert ordinary == ["/recommend/u0", "/recommend/u0"]
    gate.failure = None

    assert found == expected
    assert (found[0], found[2]["type"], found[2]["detail"]) == (
        500,
        "urn:i3rec:problem:internal",
        "The service failed",
    )
    assert "index broke" in caplog.text
    assert "short_way_failed" in caplog.text
    counted = {"method": "GET", "route": ROUTE, "status": "500"}
    assert running.services.metrics.registry.get_sample_value("i3rec_http_requests_total", counted) == 2
    assert (await short.get("/recommend/u0?k=3")).status_code == 200


async def test_keys_are_asked_for(run_app: Any, settings: Settings, ordinary: list[str]) -> None:
    """Before anything else: without one 401, with an unknown one 401, with a known one the list."""
    key = {"X-API-Key": "r" * 16}
    async with run_app(Settings(**settings.model_dump() | {"read_keys": ("r" * 16,)})) as running:
        await until_short(running.client, ordinary, headers=key)
        statuses = [
            (await running.client.get("/recommend/u0?k=3", headers=headers)).status_code
            for headers in ({}, {"X-API-Key": "x" * 16}, {"Authorization": "Bearer " + "r" * 16}, key)
        ]

    assert (statuses, ordinary) == ([401, 401, 200, 200], [])


async def test_rate_limits_apply(run_app: Any, settings: Settings, ordinary: list[str]) -> None:
    """Each caller has so many lists and no more; the refusal says when to come again."""
    keys = tuple(f"{n:016}" for n in range(3000))  # each with an allowance of its own
    limited = settings.model_dump() | {"rate_per_s": 0.001, "rate_burst": 2, "read_keys": keys}
    async with run_app(Settings(**limited)) as running:
        for key in keys[1:]:
            ordinary.clear()
            await running.client.get("/recommend/u0?k=3", headers={"X-API-Key": key})
            if not ordinary:
                break
        mine = {"X-API-Key": keys[0]}
        answers = [await running.client.get("/recommend/u0?k=3", headers=mine) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 0
    assert ordinary == []
