"""Nothing but our own errors leaves the client, and they say what happened."""

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from i3rec_client import (
    ApiError,
    Client,
    Conflict,
    Fault,
    InvalidRequest,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
    TransportError,
    Unavailable,
    UnexpectedAnswer,
)
from i3rec_client.documents import Document, Malformed
from i3rec_client.options import option_contents
from i3rec_client.progress import FailedLines
from i3rec_client.replies import retry_after_s

PROBLEM = {
    "type": "urn:i3rec:problem:invalid-request",
    "title": "The request is not valid",
    "status": 422,
    "detail": "/a: wrong",
    "errors": [{"pointer": "/a", "detail": "wrong"}],
    "instance": "r-1",
}
KINDS = {
    400: ApiError,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    412: PreconditionFailed,
    413: ApiError,
    422: InvalidRequest,
    429: TooManyRequests,
    500: ApiError,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def raised(service: Any) -> Exception:
    """What a simple call raises."""
    with service.client(attempts=1) as client, pytest.raises((ApiError, TransportError)) as caught:
        client.models()
    return caught.value


@pytest.mark.parametrize(("status", "kind"), KINDS.items())
def test_each_status_has_its_kind(scripted: Any, status: int, kind: type) -> None:
    """Callers can catch what they can act on."""
    assert type(raised(scripted(httpx.Response(status, json=PROBLEM | {"status": status})))) is kind


def test_error_holds_the_problem(scripted: Any) -> None:
    """All of the document is there, in the message too, also after a way through another process."""
    error = raised(scripted(httpx.Response(422, json=PROBLEM, headers={"retry-after": "3"})))

    for each in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own bytes
        assert (each.status, each.type, each.title) == (422, PROBLEM["type"], PROBLEM["title"])
        assert (each.detail, each.errors, each.request_id) == ("/a: wrong", (Fault("/a", "wrong"),), "r-1")
        assert each.retry_after_s == 3
        assert str(each) == "422 The request is not valid: /a: wrong (request r-1)"


@pytest.mark.parametrize(
    "content", [b"<html>Bad Gateway</html>", b"", b"[]", b"{}", b"\xff\xfe", b'{"type": 5}', b"[" * 100_000]
)
def test_answers_of_others_are_errors_too(scripted: Any, content: bytes) -> None:
    """A proxy on the way answers as it likes: the status counts, the text is shown shortened."""
    error = raised(scripted(httpx.Response(502, content=content, headers={"x-request-id": "r-2"})))

    assert isinstance(error, ApiError)
    assert (error.status, error.type, error.title, error.request_id) == (502, "about:blank", "Bad Gateway", "r-2")
    assert len(error.detail) <= 200


def test_pages_for_browsers_are_not_shown(scripted: Any) -> None:
    """The status says it all."""
    page = httpx.Response(502, html="<html><head><title>502 Bad Gateway</title></head></html>")

    assert str(raised(scripted(page))) == "502 Bad Gateway: no more was said"


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Welcome</html>",
        b"",
        b"[]",
        b"{}",
        b'{"versions": "v1", "promoted": null, "serving": null}',
        b'{"versions": [1], "promoted": null, "serving": null}',
        b'{"versions": [], "promoted": true, "serving": null}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_successes_of_others_are_not_believed(scripted: Any, content: bytes) -> None:
    """A 200 with something else in it is no answer of the service, and is not asked for again."""
    service = scripted(httpx.Response(200, content=content))

    with service.client() as client, pytest.raises(UnexpectedAnswer):
        client.models()

    assert len(service.requests) == 1


def test_fields_of_later_services_are_passed_over(scripted: Any) -> None:
    """An older client understands a newer service."""
    content = {"versions": ["v1"], "promoted": "v1", "serving": None, "new": {"er": 1}}

    with scripted(httpx.Response(200, json=content)).client() as client:
        assert client.models().versions == ("v1",)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout(""),
        httpx.LocalProtocolError("x"),
        httpx.DecodingError("x"),
        httpx.TooManyRedirects("x"),
        httpx.UnsupportedProtocol("x"),
        httpx.InvalidURL("x"),
        httpx.ProxyError("x"),
    ],
    ids=repr,
)
def test_errors_of_httpx_stay_inside(scripted: Any, error: Exception) -> None:
    """Whatever goes wrong on the way is a TransportError that names it."""
    found = raised(scripted(error))

    assert type(found) is TransportError
    assert type(error).__name__ in str(found)
    assert found.__cause__ is error


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://h:x", "/path", "http://h:99999", "http://a..b"]
)
def test_addresses_that_are_none_are_refused_at_once(url: str) -> None:
    """A wrong URL is noticed where it is given."""
    with pytest.raises(ValueError, match="expected"):
        Client(url)


@pytest.mark.parametrize("text", ["", "a\nb", "é", " a"])
def test_headers_that_are_none_are_refused_and_not_shown(scripted: Any, text: str) -> None:
    """Keys and request ids must be visible ASCII; a key is a secret, also a wrong one."""
    with pytest.raises(ValueError, match=r"expected an API key of visible ASCII characters$"):
        Client("http://test", api_key=text)
    with scripted(httpx.Response(200)).client() as client, pytest.raises(ValueError, match="expected a request id"):
        client.models(request_id=text)


def test_requests_carry_what_they_should(scripted: Any) -> None:
    """The key, the request id and the address's own path are in every request; nothing follows a redirect."""
    service = scripted(httpx.Response(307, headers={"location": "http://elsewhere/"}))

    with service.client(api_key="secret") as client, pytest.raises(ApiError):
        client.get_item("a/b", request_id="r-3")
    with (
        Client("http://test/behind/", transport=httpx.MockTransport(service.handle)) as client,
        pytest.raises(ApiError),
    ):
        client.get_item("a")

    first, second = service.requests
    assert (first.headers["authorization"], first.headers["x-request-id"]) == ("Bearer secret", "r-3")
    assert first.url.raw_path == b"/items/a%2Fb"
    assert "authorization" not in second.headers
    assert second.url.raw_path == b"/behind/items/a"


@pytest.mark.parametrize("url", ["http://test/?x=1", "http://test/#there", "http://test?y"])
def test_addresses_with_a_query_are_refused(url: str) -> None:
    """Every call would go astray."""
    with pytest.raises(ValueError, match="without query and fragment"):
        Client(url)


@pytest.mark.parametrize("value", ["Mon, 01 Jan 2024 00:00:00 +9999999999999999999", "9" * 400 + " Jan 2024", "soon"])
def test_strange_times_to_wait_are_none(value: str) -> None:
    """Whatever stands there: the answer's own error counts."""
    assert retry_after_s(value, datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_integers_that_are_no_float_are_malformed() -> None:
    """An answer that says so is none of the service's."""
    with pytest.raises(Malformed, match="'score'"):
        Document.parse(b'{"score": 1%s}' % (b"0" * 400)).get("score", float)


def test_values_of_no_kind_are_refused_also_among_others() -> None:
    """They would be asked for as texts."""
    with pytest.raises(TypeError, match="expected texts, numbers or truth values for 'a', found NoneType"):
        option_contents({"attributes": {"a": ["x", None]}})  # type: ignore[list-item]


def test_half_a_line_that_failed_is_dropped(tmp_path: Path) -> None:
    """It was never noted as done: its part is sent again, and what is refused then has a line of its own."""
    path = tmp_path / "failed"
    path.write_bytes(b'{"line": 1, "text": "a"}\n{"line": 2, "item_i')

    FailedLines(path).keep(5)

    assert path.read_bytes() == b'{"line": 1, "text": "a"}\n'
