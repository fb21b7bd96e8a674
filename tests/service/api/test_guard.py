"""What stands before the routes: keys, the rate limit, the deadline."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from pydantic import ValidationError
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.allowance import Allowances, Guesses, address_of
from service.api.deadline import Deadline
from service.api.guard import Access, KeyGuard, RateLimit, access_needed
from service.settings import Settings

pytestmark = pytest.mark.anyio

READ, WRITE, ADMIN = "r" * 16, "w" * 16, "a" * 16
KEYS = {READ: Access.READ, WRITE: Access.WRITE, ADMIN: Access.ADMIN}


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that answers everything."""
    await PlainTextResponse("fine")(scope, receive, send)


async def receive_nothing() -> Message:
    """The caller waits."""
    await anyio.sleep(60)
    return {"type": "http.disconnect"}


def client_of(app: ASGIApp, address: str = "127.0.0.1") -> httpx.AsyncClient:
    """A client of an app in this process, who seems to be at an address."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 123)), base_url="http://test")


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/readyz", None),
        ("GET", "/metrics", None),
        ("GET", "/docs", None),
        ("GET", "/recommend/u", Access.READ),
        ("POST", "/recommend", Access.READ),
        ("POST", "/recommend/batch", Access.READ),
        ("GET", "/items/a", Access.READ),
        ("GET", "/models", Access.READ),
        ("POST", "/items", Access.WRITE),
        ("PATCH", "/items/a", Access.WRITE),
        ("DELETE", "/users/u", Access.WRITE),
        ("POST", "/interactions", Access.WRITE),
        ("POST", "/models/v1/activate", Access.ADMIN),
        ("POST", "/models/rollback", Access.ADMIN),
        ("BREW", "/coffee", Access.WRITE),
    ],
)
async def test_a_key_reaches_as_far_as_it_may(method: str, path: str, needed: Access | None) -> None:
    """No key 401, a lesser one 403, an equal or greater one passes, in either header; open paths need none."""
    async with client_of(KeyGuard(answers, KEYS)) as client:
        without = await client.request(method, path)
        wrong = await client.request(method, path, headers={"X-API-Key": "x" * 16})
        found = {
            key: {
                (await client.request(method, path, headers=headers)).status_code
                for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"})
            }
            for key in KEYS
        }

    assert access_needed(method, path) == needed
    if needed is None:
        assert (without.status_code, wrong.status_code) == (200, 200)
        return
    assert (without.status_code, wrong.status_code) == (401, 401)
    assert without.headers["www-authenticate"] == "Bearer"
    assert without.json()["type"] == "urn:i3rec:problem:unauthorized"
    assert found == {key: {200 if access >= needed else 403} for key, access in KEYS.items()}


async def test_refusals_come_before_the_body_is_read() -> None:
    """A caller without a key cannot make the service read anything."""

    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answers(scope, receive, send)

    async with client_of(KeyGuard(read_all, KEYS)) as client:
        with pytest.raises(AssertionError, match="read"):
            await client.post("/items", content=body(), headers={"X-API-Key": WRITE})
        assert (await client.post("/items", content=b"{}")).status_code == 401


async def test_allowance_is_spent_and_fills_up_again() -> None:
    """Two at once, then one every half second; each key has its own; probes cost nothing."""
    now = 100.0
    app = RateLimit(answers, Allowances(2, 2, clock=lambda: now), keyed=True)
    async with client_of(app) as client:

        async def ask(key: str, path: str = "/recommend/u") -> httpx.Response:
            return await client.get(path, headers={"X-API-Key": key})

        first = [(await ask(READ)).status_code for _ in range(3)]
        refused = await ask(READ)
        others = [(await ask(WRITE)).status_code for _ in range(3)]
        probes = {(await ask(READ, "/readyz")).status_code for _ in range(5)}
        now += 0.5
        later = [(await ask(READ)).status_code for _ in range(2)]

    assert first == [200, 200, 429]
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["type"] == "urn:i3rec:problem:too-many-requests"
    assert others == [200, 200, 429]
    assert probes == {200}
    assert later == [200, 429]


async def test_invented_keys_are_no_callers_of_their_own() -> None:
    """Where none are asked for, it is addresses that count."""
    app = RateLimit(answers, Allowances(1, 2, clock=lambda: 100.0), keyed=False)
    headers = [{"X-API-Key": READ}, {"Authorization": f"Bearer {WRITE}"}, {}, {"X-API-Key": ADMIN}]
    async with client_of(app, "192.0.2.1") as client, client_of(app, "192.0.2.2") as other:
        statuses = [(await client.get("/recommend/u", headers=each)).status_code for each in headers]
        elsewhere = (await other.get("/recommend/u", headers=headers[0])).status_code

    assert statuses == [200, 200, 429, 429]
    assert elsewhere == 200


async def test_guesses_are_bounded() -> None:
    """Of unknown keys from an address two are looked at, then none is, not even a right one; elsewhere they are."""
    now = 100.0
    app = KeyGuard(answers, KEYS, Guesses(Allowances(2, 2, clock=lambda: now)))
    wrong = ["x" * 16, "y" * 16, "z" * 16]
    async with client_of(app, "192.0.2.1") as guesser, client_of(app, "192.0.2.2") as other:

        async def ask(client: httpx.AsyncClient, key: str) -> httpx.Response:
            return await client.get("/items/a", headers={"X-API-Key": key})

        guessed = [(await ask(guesser, key)).status_code for key in wrong]
        refused = await ask(guesser, READ)
        without = (await guesser.get("/items/a")).status_code
        elsewhere = (await ask(other, READ)).status_code
        now += 0.5
        later = [(await ask(guesser, key)).status_code for key in (READ, WRITE, *wrong)]

    assert guessed == [401, 401, 429]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert (without, elsewhere) == (401, 200)
    assert later == [200, 200, 401, 429, 429]


async def test_guesses_keep_out_nobody_who_was_there() -> None:
    """Keys that were right from an address are looked at there whoever guesses; not those that are right elsewhere."""
    app = KeyGuard(answers, KEYS, Guesses(Allowances(1, 2, clock=lambda: 100.0)))
    async with client_of(app, "192.0.2.1") as client, client_of(app, "192.0.2.2") as other:

        async def ask(client: httpx.AsyncClient, key: str) -> int:
            return (await client.get("/items/a", headers={"X-API-Key": key})).status_code

        before = [await ask(client, READ), await ask(other, ADMIN)]
        guessed = [await ask(client, "x" * 16) for _ in range(3)]
        after = [await ask(client, READ), await ask(client, ADMIN)]

    assert before == [200, 200]
    assert guessed == [401, 401, 429]
    assert after == [200, 429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_addresses_are_those_of_subscribers(one: str, other: str, *, same: bool) -> None:
    """Who has an IPv6 address has 2⁶⁴ of them."""
    first, second = (address_of({"client": (host, 1)}) for host in (one, other))

    assert (first == second) is same
    assert address_of({"client": None}) == ""


async def test_no_more_callers_are_remembered_than_can_be() -> None:
    """However many addresses ask, and keys are right; those who were silent longest are forgotten."""
    allowances = Allowances(1, 1, clock=lambda: 100.0)
    guesses = Guesses(allowances)
    for n in range(12_000):
        allowances.take(f"a{n}")
        guesses.note(f"a{n}", b"", right=True)

    assert len(allowances._spent) == len(guesses._right) == 10_000
    assert [allowances.wait_s(f"a{n}") for n in (0, 11_999)] == [0, 1]
    assert [guesses.wait_s("a11999", digest) for digest in (b"", b"x")] == [0, 1]


@pytest.mark.parametrize("path", ["/recommend/u0%0A", "/items/i00%0A", "/items/a%00b", "/users/%7F", "/items/%C2%85"])
async def test_control_characters_are_refused(run_app: Any, settings: Settings, path: str) -> None:
    """In any path: a user of the model with a newline added is nobody, not that user."""
    async with run_app(settings) as running:
        for method in ("GET", "DELETE"):
            answer = await running.client.request(method, path)

            assert answer.status_code == 422
            assert answer.json()["errors"] == [{"pointer": "/path", "detail": "expected no control characters"}]


@pytest.mark.parametrize("path", ["/recommend/J%FCrg", "/items/J%FCrg", "/users/%FF", "/items/%EF%BF%BD%FF"])
async def test_paths_that_are_no_utf8_are_refused(run_app: Any, settings: Settings, path: str) -> None:
    """Else they would all be read as the same id; a replacement character as such is one like others."""
    async with run_app(settings) as running:
        answer = await running.client.request("DELETE" if path.startswith("/users") else "GET", path)
        sent_so = await running.client.get("/recommend/%EF%BF%BD")

    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": "/path", "detail": "expected UTF-8, percent-encoded"}]
    assert (sent_so.status_code, sent_so.json()["user_id"]) == (200, "\ufffd")


@pytest.mark.parametrize("rate", [0, 0.01])
@pytest.mark.parametrize("keys", ["", READ])
async def test_app_is_limited_by_its_settings(run_app: Any, settings: Settings, keys: str, rate: float) -> None:
    """Without a rate, the default, nothing is; with one requests are, and guesses of keys where there are any."""
    kept = settings.model_dump(exclude={"read_keys", "write_keys", "admin_keys", "rate_per_s", "rate_burst"})
    async with run_app(Settings(**kept, read_keys=keys, rate_per_s=rate, rate_burst=2)) as running:

        async def statuses(key: str) -> list[int]:
            return [
                (await running.client.get("/recommend/u0", headers={"X-API-Key": key})).status_code for _ in range(3)
            ]

        right, wrong = await statuses(READ), await statuses("x" * 16)

    assert right == ([200, 200, 429] if rate else [200] * 3)
    first = 401 if keys else (429 if rate else 200)
    assert wrong == [first, first, 429 if rate else first]


async def test_slow_answers_are_given_up() -> None:
    """504 with the usual document; what had to be finished is finished."""
    finished = asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
            finished.set()
        await anyio.sleep(60)

    async with client_of(Deadline(slow, seconds=0.02)) as client:
        answer = await client.get("/recommend/u")

    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:i3rec:problem:deadline-exceeded"
    assert finished.is_set()


@pytest.mark.parametrize("ends", ["answer", "error"])
async def test_writes_that_must_be_finished_are_answered_in_time(ends: str) -> None:
    """With 504, though nothing can break them off; what they would have said then is not said as well."""
    told: list[Message] = []
    finishing, answered = asyncio.Event(), asyncio.Event()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope(shield=True):
            await finishing.wait()
            if ends == "error":
                raise RuntimeError("the disk is lost")
            await answers(scope, receive, send)

    async def send(message: Message) -> None:
        told.append(message)
        if message["type"] == "http.response.body":
            answered.set()

    scope = {"type": "http", "method": "POST", "path": "/items", "headers": []}
    request = asyncio.ensure_future(Deadline(stuck, seconds=0.02)(scope, receive_nothing, send))
    await answered.wait()
    assert not request.done()
    finishing.set()
    with contextlib.suppress(RuntimeError):
        await request

    assert [message.get("status") for message in told] == [504, None]


async def test_answers_that_have_begun_may_end() -> None:
    """A stream is not cut off by the deadline of its beginning."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"one"
        await anyio.sleep(0.1)
        yield b"two"

    async with client_of(Deadline(StreamingResponse(stream()), seconds=0.03)) as client:
        answer = await client.get("/items")

    assert (answer.status_code, answer.text) == (200, "onetwo")


async def test_app_is_guarded_by_its_settings(run_app: Any, settings: Settings) -> None:
    """Keys come from the settings, do not show when these are printed, and the document says what is needed."""
    guarded = Settings(
        **settings.model_dump(exclude={"read_keys", "write_keys", "admin_keys"}),
        read_keys=f"{READ}, {READ}x",
        admin_keys=ADMIN,
    )
    async with run_app(guarded) as running:
        statuses = {
            key: (await running.client.get("/recommend/u0", headers={"X-API-Key": key})).status_code
            for key in (READ, READ + "x", ADMIN, WRITE)
        }
        beyond = await running.client.delete("/items/i00", headers={"X-API-Key": READ})
        document = (await running.client.get("/openapi.json")).json()

    assert statuses == {READ: 200, READ + "x": 200, ADMIN: 200, WRITE: 401}
    assert beyond.status_code == 403
    assert READ not in repr(guarded)
    assert {"401", "403", "429", "504"} <= set(document["paths"]["/items"]["post"]["responses"])
    assert "security" not in document["paths"]["/livez"]["get"]


def test_keys_open_the_service_to_others(settings: Settings) -> None:
    """With keys it may listen anywhere; keys that can be guessed are refused."""
    where = settings.model_dump(exclude={"read_keys", "write_keys", "admin_keys", "host"})

    assert Settings(**where, host="0.0.0.0", read_keys=READ).has_keys  # noqa: S104 - what is tested
    with pytest.raises(ValidationError, match="at least 16 characters"):
        Settings(**where, write_keys="short")
