"""Traces: where the time of single requests went, told to a collector by OpenTelemetry's protocol.

Only a service that is given a collector's address imports this module, and with it OpenTelemetry's SDK and exporter.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import Metrics, Stage
from service.request_context import method_of, route_of

_FOR_MACHINES = frozenset({"/metrics", "/livez", "/readyz"})
"""Asked every few seconds by whoever watches; traces of these would drown the others."""
_EXPORT_S = 3.0
_FAILED = 500
_W3C = TraceContextTextMapPropagator()


class Tracing:
    """Makes a span of every request and of every stage in it.

    Args:
        share: of the traces that begin here, 0 to 1; what a caller has begun is recorded if the caller records it.
        version: of the service.
        instance: tells replicas apart.
        processor: takes the spans that ended.
    """

    def __init__(self, share: float, version: str, instance: str, processor: SpanProcessor) -> None:
        about = {"service.name": "i3rec", "service.version": version, "service.instance.id": instance}
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)), resource=Resource.create(about), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("i3rec", version)

    @classmethod
    def to(cls, endpoint: str, share: float, version: str, port: int) -> "Tracing":
        """Spans are sent to this URL, some seconds' worth at once, by a thread; what cannot be sent is lost."""
        processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_S))
        return cls(share, version, f"{socket.gethostname()}:{port}", processor)

    @contextmanager
    def stage(self, metrics: Metrics, name: str) -> Iterator[None]:
        """Times a stage as ever; within a request that is traced it has a span too."""
        if not trace.get_current_span().is_recording():
            with Stage(metrics, name):
                yield
            return
        with self._span(name), Stage(metrics, name):
            yield

    @contextmanager
    def request(self, method: str, caller: Context) -> Iterator[Span]:
        """The span of a request, which those of its stages belong to."""
        with self._span(method, caller, SpanKind.SERVER, {"http.request.method": method}) as span:
            yield span

    def _span(
        self,
        name: str,
        caller: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        facts: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Span]:
        """A span without the messages of exceptions, which name users and items."""
        return self._tracer.start_as_current_span(
            name, caller, kind, facts, record_exception=False, set_status_on_exception=False
        )

    def middleware(self, serving: Callable[[], str | None]) -> Iterator[Middleware]:
        """What traces the requests of an app; ``serving`` = the model version that serves."""
        yield Middleware(TracedRequests, tracing=self, serving=serving)

    def close(self) -> None:
        """Sends what has not been sent yet, as far as the collector takes it."""
        self._provider.shutdown()


class TracedRequests:
    """ASGI middleware, the outermost: a span for each request, in the caller's trace where it names one.

    The request goes on with a ``traceparent`` of its own span, so that logs have the id of the trace in any case.

    Args:
        app: answers.
        tracing: makes the spans.
        serving: the model version that serves.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing, serving: Callable[[], str | None]) -> None:
        self._app = app
        self._tracing = tracing
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and makes its span."""
        if scope["type"] != "http" or scope["path"] in _FOR_MACHINES:
            await self._app(scope, receive, send)
            return
        status = _FAILED

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracing.request(method_of(scope), _W3C.extract(_texts(scope["headers"]))) as span:
            scope["headers"] = _within(span, scope["headers"])
            try:
                await self._app(scope, receive, send_noting)
            finally:
                self._tell(span, scope, status)

    def _tell(self, span: Span, scope: Scope, status: int) -> None:
        route = route_of(scope)
        span.update_name(f"{method_of(scope)} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if version := self._serving():
            span.set_attribute("i3rec.model_version", version)
        if status >= _FAILED:
            span.set_status(StatusCode.ERROR)


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers that a trace is carried by."""
    carried = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)
    return {name: value for name, value in carried if name in _W3C.fields}


def _within(span: Span, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Headers that say that the request is part of a span."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(span))
    others = [(name, value) for name, value in headers if name.decode("latin-1") not in _W3C.fields]
    return [*others, *((name.encode(), value.encode()) for name, value in carrier.items())]
