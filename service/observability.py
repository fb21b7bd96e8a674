"""What can be seen from outside: metrics on the app's own registry, JSON logs, and the id of each request."""

import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.domain import Strategy
from service.instruments import (
    REASONS,
    CacheMetrics,
    EncodeMetrics,
    JournalMetrics,
    ModelMetrics,
    counter,
    labelled,
)
from service.list_instruments import EngineMetrics, SearchMetrics, ShadowMetrics, ShownMetrics

logger = logging.getLogger(__name__)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
model_version: ContextVar[str | None] = ContextVar("model_version", default=None)

stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_SANE_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READING = frozenset({"GET", "HEAD"})
_REFUSED = 400
_SLOW_S = 1.0
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_NAMED_PATTERNS = 6
_ARMS = ("current", "challenger")
_LOG_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's own, with terminal codes
}


class Metrics:
    """All metrics of one app. Labels are bounded: route templates, known methods, modalities of the model.

    Args:
        make_stage: times a stage and does more with it; None = it is timed and nothing else.
    """

    def __init__(self, make_stage: "MakeStage | None" = None) -> None:
        self._make_stage = make_stage or Stage
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        labels = ("method", "route", "status")
        self.requests = Counter("i3rec_http_requests", "Requests answered.", labels, registry=registry)
        self.request_seconds = Histogram(
            "i3rec_http_request_seconds", "Time to answer.", labels, registry=registry, buckets=_SECONDS
        )
        self.items_posted = Counter(
            "i3rec_items_posted", "Items written, by the modalities they had.", ("present",), registry=registry
        )
        self.recommendations = counter(
            "i3rec_recommendations", "Lists served, by strategy.", "strategy", get_args(Strategy), registry
        )
        self.impressions = counter(
            "i3rec_impressions",
            "Places in served lists, by whether the model was trained on the item.",
            "item",
            ("new", "trained"),
            registry,
        )
        self.interactions = Counter("i3rec_interactions", "Interactions written.", registry=registry)
        self.arm_lists = counter("i3rec_arm_lists", "Lists served to users, by arm.", "arm", _ARMS, registry)
        self.arm_interactions = counter(
            "i3rec_arm_interactions", "Interactions of users, by the arm they are in.", "arm", _ARMS, registry
        )
        self.stage_seconds = Histogram(
            "i3rec_stage_seconds", "Time in one stage.", ("stage",), registry=registry, buckets=_STAGE_SECONDS
        )
        self.journal = JournalMetrics(registry)
        self.encoding = EncodeMetrics(registry)
        self.search = SearchMetrics(registry)
        self.shown = ShownMetrics(registry)
        self.shadow = ShadowMetrics(registry)
        self.engines = EngineMetrics(registry)
        self.cache = CacheMetrics(registry)
        self.models = ModelMetrics(registry)
        self.degraded = Gauge("i3rec_degraded", "1 while the service does with less.", ("reason",), registry=registry)
        self.index_size = Gauge("i3rec_index_items", "Items that can be found.", registry=registry)
        self.online_items = Gauge("i3rec_online_items", "Items written online.", registry=registry)
        self.new_items = Gauge("i3rec_new_items", "Items the model was not trained on.", registry=registry)
        self.index_seq = Gauge("i3rec_index_seq", "Highest journal record that is searchable.", registry=registry)
        self.followed = Counter("i3rec_followed", "Times that others' records were applied here.", registry=registry)
        self.behind_s = Gauge(
            "i3rec_behind_seconds", "For how long what other processes wrote may be missing here.", registry=registry
        )
        for reason in REASONS:
            self.degraded.labels(reason)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Times one stage, for the metrics and for this request's own answer: ``with metrics.stage("encode"): ...``."""
        return self._make_stage(self, name)

    def spent(self, name: str, seconds: float) -> None:
        """Notes the time of one stage, for the metrics and for this request's own answer."""
        labelled(self.stage_seconds, name).observe(seconds)
        spent = stages.get()
        if spent is not None:
            spent[name] = spent.get(name, 0.0) + seconds

    def count_item(self, present: Sequence[str], missing: Sequence[str]) -> None:
        """Counts a written item under its pattern; a model of many modalities is counted by their number alone."""
        total = len(present) + len(missing)
        pattern = "+".join(present) or "none"
        if total > _NAMED_PATTERNS:
            pattern = f"{len(present)} of {total}"
        self.items_posted.labels(pattern).inc()

    def count_shown(self, new: int, trained: int) -> None:
        """Counts places in a list."""
        labelled(self.impressions, "new").inc(new)
        labelled(self.impressions, "trained").inc(trained)

    def count_list(self, strategy: str) -> None:
        """Counts a list."""
        labelled(self.recommendations, strategy).inc()

    def count_arm(self, arm: str) -> None:
        """Counts a list for a user in an arm of a split test."""
        labelled(self.arm_lists, arm).inc()


class Stage:
    """Times a block, for the metrics and for the request's own answer."""

    __slots__ = ("_metrics", "_name", "_started")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._metrics.spent(self._name, time.perf_counter() - self._started)


MakeStage = Callable[[Metrics, str], AbstractContextManager[None]]


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
        labelled(self._metrics.requests, method, route, status).inc()
        labelled(self._metrics.request_seconds, method, route, status).observe(seconds)
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
    return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in {**spent, "total": total}.items())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, request id, model version, and the event's own facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record."""
        facts = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            "request_id": request_id.get(),
            "trace_id": trace_id.get(),
            "model_version": model_version.get(),
        }
        facts |= {name: value for name, value in vars(record).items() if name not in _LOG_FIELDS}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


def configure_logging(level: str, *, as_json: bool) -> None:
    """Sets up the root logger. Only command lines call this."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if as_json else plain)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Each request is logged once, by RequestContext, with its template instead of its path.
    logging.getLogger("uvicorn.access").disabled = True
