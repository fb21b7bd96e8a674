"""ASGI middleware that turns requests away before anything of them is read: without a key, or too many."""

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.allowance import Allowances, Guesses, address_of
from service.api.problems import refuse_http_exception, refuse_request

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REPLACEMENT = "\ufffd"
_OPEN = frozenset({"/", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"})
_OPEN_BELOW = ("/docs/", "/static-offline-docs/")

_Refusal = tuple[int, str, Mapping[str, str]]  # status, detail, headers


class Access(IntEnum):
    """What a key may do; each may do what those before it may."""

    READ = 1
    WRITE = 2
    ADMIN = 3


def access_needed(method: str, path: str) -> Access | None:
    """What a request needs; None where it needs no key.

    Probes, metrics and documentation are open. Lists are read, also where they are asked for by POST; model versions
    are an operator's; all else that is not a GET writes.
    """
    if path in _OPEN or path.startswith(_OPEN_BELOW):
        return None
    if path == "/models" or path.startswith("/models/"):
        return Access.READ if method in {"GET", "HEAD"} else Access.ADMIN
    if method in {"GET", "HEAD"} or path in {"/recommend", "/recommend/batch"}:
        return Access.READ
    return Access.WRITE


class KeyGuard:
    """Asks for a key: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

    Without a known one the answer is 401, with one that does not reach that far 403.

    Args:
        app: what is guarded.
        keys: key → what it may do; none = everybody may do everything.
        guesses: bounds how often unknown keys are answered so, rather than with a 429; None = nothing does.
    """

    def __init__(self, app: ASGIApp, keys: Mapping[str, Access], guesses: Guesses | None = None) -> None:
        self._app = app
        self._keys = [(_digest(key), access) for key, access in keys.items()]
        self._guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers for the app."""
        needed = access_needed(scope["method"], scope["path"]) if self._keys and scope["type"] == "http" else None
        if needed is None:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, needed)
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refuse(scope, receive, send, *refusal)

    def _refusal(self, scope: Scope, needed: Access) -> _Refusal | None:
        key = _key_of(Headers(scope=scope))
        if key is None:
            return _unknown("none")
        digest = _digest(key)
        if self._guesses and (wait_s := self._guesses.wait_s(address_of(scope), digest)):
            return _too_many("expected fewer unknown keys from this address", wait_s)
        granted = self._granted(digest)
        if self._guesses:
            self._guesses.note(address_of(scope), digest, right=granted is not None)
        if granted is None:
            return _unknown("an unknown one")
        if granted < needed:
            return 403, f"expected a key for {needed.name.lower()}, found one for {granted.name.lower()}", {}
        return None

    def _granted(self, digest: bytes) -> Access | None:
        # All are compared, each in constant time: how long it takes tells nothing about any of them.
        matching = [access for known, access in self._keys if hmac.compare_digest(known, digest)]
        return max(matching, default=None)


def _unknown(found: str) -> _Refusal:
    return 401, f"expected a key, found {found}", {"WWW-Authenticate": "Bearer"}


def _too_many(expected: str, wait_s: float) -> _Refusal:
    return 429, expected, {"Retry-After": str(math.ceil(wait_s))}


class SoundPaths:
    """Refuses paths and queries that can name nothing.

    Paths with control characters, which no id may have (a last newline would else be lost on the way), and either with
    bytes that are no UTF-8, all of which would else be read as one character.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers for the app."""
        problem = _unsound(scope) if scope["type"] == "http" else None
        if problem:
            await refuse_request([problem])(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _unsound(scope: Scope) -> tuple[str, str] | None:
    """Where, and what is expected there."""
    if _CONTROL.search(scope["path"]):
        return "/path", "expected no control characters"
    # The character stands in a path as it was sent, or in place of what cannot be read.
    if _REPLACEMENT in scope["path"] and not _is_utf8(scope.get("raw_path") or b""):
        return "/path", "expected UTF-8, percent-encoded"
    return None if _is_utf8(scope["query_string"]) else ("/query", "expected UTF-8, percent-encoded")


def _is_utf8(quoted: bytes) -> bool:
    try:
        unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        return False
    return True


class RateLimit:
    """Gives every key, or every address, an allowance that fills up again; 429 once it is spent.

    Args:
        app: what is guarded.
        allowances: of callers.
        keyed: whether all have a key that is known; else it is addresses that count, whatever key they invent.
    """

    def __init__(self, app: ASGIApp, allowances: Allowances, *, keyed: bool) -> None:
        self._app = app
        self._allowances = allowances
        self._caller_of = caller_of if keyed else address_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers for the app."""
        if scope["type"] != "http" or access_needed(scope["method"], scope["path"]) is None:
            await self._app(scope, receive, send)
            return
        if wait_s := self._allowances.take(self._caller_of(scope)):
            expected = f"expected at most {self._allowances.per_second:g} requests a second"
            await refuse(scope, receive, send, *_too_many(expected, wait_s))
        else:
            await self._app(scope, receive, send)


def _key_of(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or None


def caller_of(scope: Scope) -> str:
    """Who asks, as far as can be told: the key, without giving it away, or else the address."""
    key = _key_of(Headers(scope=scope))
    client = scope.get("client")
    return f"key {_digest(key).hex()}" if key else f"address {client[0] if client else ''}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> None:
    """Answers with a problem document, before any route is reached."""
    response = await refuse_http_exception(Request(scope), HTTPException(status, detail, dict(headers or {})))
    await response(scope, receive, send)
