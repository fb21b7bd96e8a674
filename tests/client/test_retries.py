"""What is tried again, how often, and how long it takes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3rec_client import (
    ApiError,
    Client,
    Event,
    Item,
    NotFound,
    Retry,
    TransportError,
    Unavailable,
)
from i3rec_client.calls import models
from i3rec_client.replies import retry_after_s
from i3rec_client.retries import Attempts

ENCODING = {"present": [], "missing": [], "confidence": None, "model_version": "v1"}
WRITTEN = {"item_id": "a", "index_seq": 1, "encoding": ENCODING}
LIST = {
    "request_id": "r",
    "user_id": "u",
    "strategy": "popular",
    "model_version": "v1",
    "index_seq": 0,
    "degraded": [],
    "items": [],
    "next_cursor": None,
}
TAKEN = {"accepted": 1, "repeated": 0, "seq": 1}
PROMOTED = {"promoted": "v1", "before": None, "serving": "v1"}
MODELS = {"versions": ["v1"], "promoted": "v1", "serving": "v1"}
SEVERAL = {"request_id": "r", "results": []}
BATCH = {"results": [], "written": 0, "failed": 0}

LOST = httpx.RemoteProtocolError("Server disconnected without sending a response.")
UNREACHED = httpx.ConnectError("Connection refused")

SAFE: dict[str, tuple[Callable[[Client], object], Any]] = {
    "put": (lambda c: c.put_item(Item("a")), WRITTEN),
    "put that matches": (lambda c: c.put_item(Item("a"), if_match=1), WRITTEN),
    "patch that matches": (lambda c: c.patch_item("a", {}, if_match=0), WRITTEN),
    "get": (lambda c: c.recommend("u"), LIST),
    "delete": (lambda c: c.delete_item("a"), None),
    "erase": (lambda c: c.erase_user("u"), None),
    "batch": (lambda c: c.put_items([]), BATCH),
    "load": (lambda c: list(c.load_items([b""])), {"written": 0, "failed": 0}),
    "events with ids": (lambda c: c.interact(Event("u", "i")), TAKEN),
    "events with ids of their own": (lambda c: c.interact(Event("u", "i", event_id="e"), make_event_ids=False), TAKEN),
    "session": (lambda c: c.recommend_session([]), LIST),
    "users": (lambda c: c.recommend_batch(["u"]), SEVERAL),
    "models": (lambda c: c.models(), MODELS),
}
UNSAFE: dict[str, tuple[Callable[[Client], object], Any]] = {
    "put of a new one": (lambda c: c.put_item(Item("a"), if_none_match="*"), WRITTEN),
    "patch": (lambda c: c.patch_item("a", {}), WRITTEN),
    "patch of any": (lambda c: c.patch_item("a", {}, if_match="*"), WRITTEN),
    "events without ids": (
        lambda c: c.interact([Event("u", "i"), Event("u", "i", event_id="e")], make_event_ids=False),
        TAKEN,
    ),
    "activate": (lambda c: c.activate("v1"), PROMOTED),
    "rollback": (lambda c: c.rollback(), PROMOTED),
}
FAILURES = [
    *map(httpx.Response, (502, 503, 504)),
    LOST,
    httpx.ReadTimeout("slow"),
    httpx.ReadError("reset"),
]
HARMLESS = [httpx.Response(429), UNREACHED, httpx.ConnectTimeout("slow"), httpx.PoolTimeout("busy")]


def success(content: Any) -> httpx.Response:
    """An answer that says it is done."""
    return httpx.Response(204) if content is None else httpx.Response(200, json=content)


@pytest.mark.parametrize(("call", "content"), SAFE.values(), ids=SAFE)
@pytest.mark.parametrize("failure", [*FAILURES, *HARMLESS], ids=repr)
def test_what_is_safe_is_tried_again(scripted: Any, call: Any, content: Any, failure: Any) -> None:
    """After a failure that may pass the very same request is sent again."""
    service = scripted(failure, success(content))

    with service.client() as client:
        call(client)

    first, second = service.requests
    assert (first.method, first.url, first.content) == (second.method, second.url, second.content)
    assert service.waits == [pytest.approx(0.2)]


@pytest.mark.parametrize(("call", "content"), UNSAFE.values(), ids=UNSAFE)
def test_what_is_not_safe_is_tried_again_only_where_nothing_happened(scripted: Any, call: Any, content: Any) -> None:
    """Where the service may have acted, the caller decides; what it has not even read is sent again."""
    for failure in FAILURES:
        service = scripted(failure, success(content))
        with service.client() as client, pytest.raises((Unavailable, TransportError)):
            call(client)
        assert len(service.requests) == 1
    for failure in HARMLESS:
        service = scripted(failure, success(content))
        with service.client() as client:
            call(client)
        assert len(service.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 500, 501, 507, 302])
def test_refusals_are_final(scripted: Any, status: int) -> None:
    """What will be refused again is not asked again, even where it is safe."""
    service = scripted(httpx.Response(status, headers={"retry-after": "1", "location": "http://elsewhere/"}))

    with service.client() as client, pytest.raises(ApiError) as caught:
        client.models()

    assert (caught.value.status, len(service.requests)) == (status, 1)


def test_waits_double_up_to_a_limit(scripted: Any) -> None:
    """Without chance the waits are 0.2, 0.4, 0.8 … until the longest; then the last error is raised."""
    service = scripted(LOST)

    with service.client(attempts=7, longest_wait_s=3.0) as client, pytest.raises(TransportError, match="disconnected"):
        client.models()

    assert service.waits == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.0, 3.0])
    assert len(service.requests) == 7


def test_retry_after_is_obeyed(scripted: Any) -> None:
    """The service's own word is the least that is waited."""
    service = scripted(httpx.Response(429, headers={"retry-after": "7"}), success(MODELS))

    with service.client() as client:
        client.models()

    assert service.waits == [pytest.approx(7.2)]


def test_time_is_bounded(scripted: Any) -> None:
    """No attempt begins after the total time; a wait that would lead there is not begun."""
    service = scripted(httpx.Response(503, headers={"retry-after": "4"}))
    patient = scripted(httpx.Response(503, headers={"retry-after": "3600"}))

    with service.client(attempts=100, total_s=10.0) as client, pytest.raises(Unavailable):
        client.models()
    with patient.client() as client, pytest.raises(Unavailable) as caught:
        client.models()

    assert service.waits == pytest.approx([4.2, 4.4])
    assert (patient.waits, caught.value.retry_after_s) == ([], 3600)


def test_one_attempt_is_no_retry(scripted: Any) -> None:
    """Retries can be turned off."""
    service = scripted(UNREACHED)

    with service.client(attempts=1) as client, pytest.raises(TransportError):
        client.models()

    assert (len(service.requests), service.waits) == (1, [])


@given(
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
    st.sampled_from([TransportError("lost"), TransportError("away", reached=False)]),
)
def test_waits_are_never_longer_nor_shorter_than_said(chances: list[float], error: TransportError) -> None:
    """Whatever chance says, a wait lies between a half and the whole of what doubling gives."""
    numbers = iter(chances)
    attempts = Attempts(
        models(), Retry(attempts=99, total_s=1e9, longest_wait_s=5.0, clock=lambda: 0.0, chance=lambda: next(numbers))
    )

    for failed in range(len(chances)):
        whole = min(5.0, 0.2 * 2**failed)
        wait_s = attempts.wait_s(error)
        assert wait_s is not None
        assert whole / 2 <= wait_s <= whole


@pytest.mark.parametrize(
    "failure", [*map(httpx.Response, (502, 503, 504)), LOST], ids=["proxy", "unavailable", "deadline", "lost"]
)
def test_item_that_was_deleted_by_an_earlier_attempt_is_deleted(scripted: Any, failure: Any) -> None:
    """Where the answer to a deletion was lost, that the item is gone is success; where none was, it is NotFound."""
    lost = scripted(failure, httpx.Response(404))
    unreached = scripted(UNREACHED, httpx.Response(404))

    with lost.client() as client:
        client.delete_item("a")
    with unreached.client() as client, pytest.raises(NotFound):
        client.delete_item("a")

    assert len(lost.requests) == len(unreached.requests) == 2


def test_events_get_ids_that_stay(scripted: Any) -> None:
    """Each event without an id gets one of its own, the same in every attempt; others keep theirs."""
    service = scripted(LOST, success(TAKEN))

    with service.client() as client:
        client.interact([Event("u", "i"), Event("u", "i"), Event("u", "i", event_id="mine")])

    first, second = (httpx.Response(200, content=request.content).json() for request in service.requests)
    assert first == second
    ids = [event["event_id"] for event in first]
    assert (len(set(ids)), ids[2]) == (3, "mine")


def test_pages_follow_the_cursors(scripted: Any) -> None:
    """Each page is asked for with the cursor of the one before, and only when it is needed."""
    service = scripted(*(success(LIST | {"next_cursor": cursor}) for cursor in ("c1", "c2", None)))

    with service.client() as client:
        pages = client.pages("u", k=3, cursor="c0")
        assert service.requests == []
        assert [page.next_cursor for page in pages] == ["c1", "c2", None]

    assert [request.url.query for request in service.requests] == [b"k=3&cursor=c0", b"k=3&cursor=c1", b"k=3&cursor=c2"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("12", 12),
        ("-3", 0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 23:00:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    """Seconds or a date; never negative; None where it is neither."""
    assert retry_after_s(value, datetime(2026, 1, 1, tzinfo=UTC)) == seconds
