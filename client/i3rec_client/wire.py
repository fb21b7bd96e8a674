"""What both clients have in common with httpx: requests in, replies and errors out."""

from collections.abc import Mapping
from typing import Any

import httpx

from i3rec_client.call import Call
from i3rec_client.errors import TransportError
from i3rec_client.replies import Reply

DEFAULT_URL = "http://127.0.0.1:8000"

# A little more than the service's own deadline (30 s where nobody sets another), so that its 504 comes through.
TIMEOUT = httpx.Timeout(35.0, connect=5.0)

# InvalidURL is no HTTPError.
ERRORS = (httpx.HTTPError, httpx.InvalidURL)
_LAST_PORT = 65535
_UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)
_LASTING = (
    httpx.DecodingError,
    httpx.InvalidURL,
    httpx.LocalProtocolError,
    httpx.TooManyRedirects,
    httpx.UnsupportedProtocol,
)


def base_url(url: str) -> str:
    """A service's address.

    Raises:
        ValueError: it is none.
    """
    try:
        parsed = httpx.URL(url)
        # Names and ports that no socket takes would fail later, with errors that are none of httpx's.
        parsed.raw_host.decode("ascii").encode("idna")
    except (httpx.InvalidURL, UnicodeError) as exc:
        raise ValueError(f"expected the URL of a service: {exc}") from exc
    if parsed.scheme not in {"http", "https"} or not parsed.host or (parsed.port or 0) > _LAST_PORT:
        raise ValueError(f"expected a URL such as {DEFAULT_URL}, found {url!r}")
    if parsed.query or parsed.fragment:
        raise ValueError(f"expected a URL without query and fragment, such as {DEFAULT_URL}, found {url!r}")
    return url


def standing_headers(api_key: str | None) -> dict[str, str]:
    """The headers of every request.

    Raises:
        ValueError: the key cannot stand in a header; it is not shown.
    """
    headers = {
        "Accept": "application/json, application/x-ndjson, application/problem+json",
        "User-Agent": "i3rec-client",
    }
    if api_key is None:
        return headers
    return headers | {"Authorization": f"Bearer {_visible('an API key', api_key)}"}


def request_arguments(call: Call[object], request_id: str | None) -> dict[str, Any]:
    """A call in the words of httpx.

    Raises:
        ValueError: the request id cannot stand in a header.
    """
    named = {} if request_id is None else {"X-Request-Id": _visible("a request id", request_id)}
    return {
        "method": call.method,
        "url": call.path,
        "params": list(call.query) or None,
        "headers": {**call.headers, **named},
        "content": call.content,
    }


def reply_of(response: httpx.Response, *, repeated: bool) -> Reply:
    """An answer that has been read."""
    headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content, repeated)


def transport_error(exc: Exception) -> TransportError:
    """What a failure of httpx means to a caller."""
    reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return TransportError(reason, reached=not isinstance(exc, _UNREACHED), passing=not isinstance(exc, _LASTING))


def _visible(what: str, text: str) -> str:
    if not (text.isascii() and text.isprintable() and text.strip() == text and text):
        raise ValueError(f"expected {what} of visible ASCII characters")
    return text
