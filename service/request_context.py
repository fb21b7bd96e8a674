"""What is known of the request that is being answered: its id, its trace, its place in the metrics and in the log."""

import logging
import random
import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics, stages

logger = logging.getLogger(__name__)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
model_version: ContextVar[str | None] = ContextVar("model_version", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_SANE_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READING = frozenset({"GET", "HEAD"})
_REFUSED = 400
_SLOW_S = 1.0


class RequestContext:
    """ASGI middleware: gives each request its id, its model version in the logs, and its place in the metrics."""

    def __init__(self, app: ASGIApp, metrics: Metrics, serving: Callable[[], str | None]) -> None:
        self._app = app
        self._metrics = metrics
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and takes its measure."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity, trace = _ids(scope)
        request_id.set(identity)
        trace_id.set(trace)
        spent: dict[str, float] = {}
        stages.set(spent)
        model_version.set(self._serving())
        status = 500
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = _server_timing(spent, time.perf_counter() - started)
                own = ((b"x-request-id", identity.encode()), (b"server-timing", timing.encode()))
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = route_of(scope), method_of(scope)
        self._metrics.answered(method, route, status, seconds)
        # What went well, changed nothing and was quick would drown everything else.
        ordinary = method in _READING and status < _REFUSED and seconds < _SLOW_S
        level = logging.DEBUG if ordinary else logging.INFO
        if logger.isEnabledFor(level):
            facts = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 3)}
            logger.log(level, "request", extra=facts)


def route_of(scope: Scope) -> str:
    """The template of the path that was asked for, once it is found."""
    return getattr(scope.get("route"), "path_format", "unmatched")


def method_of(scope: Scope) -> str:
    """The method, if it is a known one."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _ids(scope: Scope) -> tuple[str, str | None]:
    """The request's id, the caller's or a new one, and the id of its trace, if it has one."""
    identity = trace = None
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            identity = identity or _sane(value.decode("latin-1"))
        elif name == b"traceparent":
            trace = trace or _trace(value.decode("latin-1"))
    # No secret: and the system's own randomness would cost a call to it, and with that the turn of this thread.
    return identity or f"{random.getrandbits(128):032x}", trace


def _sane(value: str | None) -> str | None:
    return value if value and _SANE_REQUEST_ID.fullmatch(value) else None


def _trace(traceparent: str) -> str | None:
    """The trace id of a W3C ``traceparent``; None where it is none."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match["trace"] if match else None


def _server_timing(spent: Mapping[str, float], total: float) -> str:
    parts = [f"{name};dur={seconds * 1000:.3f}" for name, seconds in spent.items()]
    return ", ".join([*parts, f"total;dur={total * 1000:.3f}"])
