"""ASGI middleware for ``Idempotency-Key``: a POST that is sent again is answered as the first time, and done once."""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.batch import is_stream
from service.api.guard import caller_of
from service.api.problems import refuse_http_exception, refuse_request

HEADER = "Idempotency-Key"
_SOUND_KEY = re.compile(r"[!-~]{1,256}")
_MEANT = ("Content-Type", "If-Match", "If-None-Match", "X-Index-Seq")
_LIFE_S = 24 * 3600.0
_MOST_ANSWERS = 10_000
_MOST_BYTES = 64 << 20
_RETRY_AFTER_S = "1"


@dataclass(slots=True)
class _Kept:
    """What is known under a key; ``answer`` is None while the first request is under way."""

    body: bytes
    since: float
    answer: Response | None = None

    @property
    def size(self) -> int:
        return len(self.answer.body) if self.answer else 0


class Idempotency:
    """Remembers the answers to POSTs with an ``Idempotency-Key``, per caller and path, for a day, in this process.

    The same key with the same query, body and conditions is answered from memory (with ``Idempotent-Replayed: true``),
    with others it is refused with 422, and while the first request is under way with 409. Answers that say "not now"
    (429, 5xx), also of a single item of many, are not kept. The oldest answers give way where there are too many.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers for the app."""
        name = Headers(scope=scope).get(HEADER) if scope["type"] == "http" and scope["method"] == "POST" else None
        if name is None:
            await self._app(scope, receive, send)
            return
        response: Response | None
        if problem := _unusable(name, scope):
            response = refuse_request([(f"/header/{HEADER}", problem)])
        else:
            response = await self._answer(_place(caller_of(scope), scope["path"], name), scope, receive, send)
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, key: bytes, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """What to answer; None where the app has answered, or nobody is there any more."""
        try:
            body = await _read(receive)
        except HTTPException as exc:
            return await refuse_http_exception(Request(scope), exc)
        if body is None:
            return None
        known, digest = self._known(key), _digest(scope, body)
        if known is None:
            await self._first(key, digest, _Exchange(body, receive, send), scope)
            return None
        if known.body != digest:
            return refuse_request([(f"/header/{HEADER}", "expected a key of its own for another request")])
        if known.answer is None:
            refusal = HTTPException(409, "the first request of this key is under way", {"Retry-After": _RETRY_AFTER_S})
            return await refuse_http_exception(Request(scope), refusal)
        return known.answer

    def _known(self, key: bytes) -> _Kept | None:
        known = self._kept.get(key)
        if known and known.answer and self._clock() - known.since > _LIFE_S:
            self._forget(key)
            return None
        return known

    async def _first(self, key: bytes, digest: bytes, exchange: "_Exchange", scope: Scope) -> None:
        self._kept[key] = _Kept(digest, self._clock())
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._kept.pop(key, None)
            if (answer := exchange.answer()) is not None:
                self._keep(key, _Kept(digest, self._clock(), answer))

    def _keep(self, key: bytes, kept: _Kept) -> None:
        self._kept[key] = kept
        self._bytes += kept.size
        while len(self._kept) > _MOST_ANSWERS or self._bytes > _MOST_BYTES:
            done = next((known for known, each in self._kept.items() if each.answer), None)
            if done is None:  # all are under way
                return
            self._forget(done)

    def _forget(self, key: bytes) -> None:
        self._bytes -= self._kept.pop(key).size


def _place(*names: str) -> bytes:
    """Where an answer is kept: names may be as long as a head of a request is let, and ten thousand are kept."""
    parts = (name.encode(errors="surrogatepass") for name in names)
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()


def _digest(scope: Scope, body: bytes) -> bytes:
    """What tells a request from others: its query, its body, and the headers that say what it is to mean."""
    headers = Headers(scope=scope)
    digest = hashlib.sha256(scope.get("query_string", b"") + b"\n")
    for name in _MEANT:
        for value in headers.getlist(name):
            digest.update(f"{name}:{value}\n".encode())
    digest.update(b"\n" + body)
    return digest.digest()


class _Exchange:
    """Plays a body that was read to the app, and listens to its answer."""

    def __init__(self, body: bytes, receive: Receive, send: Send) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._said: list[bytes] = []
        self._whole = False

    async def receive(self) -> Message:
        """The body, then whatever the server has to say, such as that the client went away."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Passes the answer on."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._said.append(message.get("body", b""))
            self._whole = not message.get("more_body", False)
        await self._send(message)

    def answer(self) -> Response | None:
        """The answer to be kept; None where it did not come to its end, or says "not now"."""
        if self._start is None or not self._whole:
            return None
        status, body = self._start["status"], b"".join(self._said)
        if any(map(_is_not_now, [status, *_statuses_in(status, body)])):
            return None
        response = Response(body, status)
        own = {b"x-request-id", b"server-timing"}  # of the request that is answered now
        response.raw_headers = [(name, value) for name, value in self._start["headers"] if name.lower() not in own]
        response.raw_headers.append((b"idempotent-replayed", b"true"))
        return response


def _is_not_now(status: int) -> bool:
    return status >= 500 or status == 429  # noqa: PLR2004 - statuses


def _statuses_in(status: int, body: bytes) -> list[int]:
    """The statuses of the parts of an answer that has a status for each."""
    return [part["status"] for part in orjson.loads(body)["results"]] if status == HTTPStatus.MULTI_STATUS else []


def _unusable(name: str, scope: Scope) -> str | None:
    if not _SOUND_KEY.fullmatch(name):
        return "expected 1 to 256 visible ASCII characters"
    if is_stream(scope):
        return "expected none on a stream, whose items may be sent again without harm"
    return None


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None where the client goes away before its end: what was sent is nobody's request."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
