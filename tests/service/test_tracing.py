"""Traces of the running app, as the exporter gets them."""

import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydantic import ValidationError

from service import settings as settings_module
from service.adapters.sql_journal import SqlJournal
from service.errors import StorageUnavailable
from service.logs import JsonFormatter
from service.settings import Settings, explain

memory_export = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

from opentelemetry.sdk.trace import ReadableSpan  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402

from service.tracing import Tracing  # noqa: E402

pytestmark = pytest.mark.anyio
TEXT = [1.0, 2.0, 3.0, 4.0]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNRECORDED = f"{CALLER[:-2]}00"


class Traced:
    """A running app and the spans it made."""

    def __init__(self, client: Any, exporter: Any) -> None:
        self.client = client
        self._exporter = exporter

    def spans(self) -> list[ReadableSpan]:
        """Those that ended, in the order in which they began; forgets them."""
        found = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)
        self._exporter.clear()
        return found


@pytest.fixture
async def traced(
    run_app: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, share: float
) -> AsyncIterator[Traced]:
    """An app that keeps its spans in memory in place of sending them."""
    exporter = memory_export.InMemorySpanExporter()

    def kept(_endpoint: str, share: float, version: str, port: int) -> Tracing:
        return Tracing(share, version, f"here:{port}", SimpleSpanProcessor(exporter))

    monkeypatch.setattr(Tracing, "to", kept)
    asked = settings.model_copy(update={"trace_endpoint": "http://collector/v1/traces", "trace_share": share})
    async with run_app(asked) as running:
        yield Traced(running.client, exporter)


@pytest.fixture
def share() -> float:
    """Of the traces that begin here."""
    return 1.0


async def test_requests_have_spans_with_their_stages(traced: Traced) -> None:
    """A write is one span by its template, and its stages are its children, in their order."""
    await traced.client.post("/items", json={"item_id": "a", "modalities": {"text": TEXT}})

    request, *stages = traced.spans()

    assert (request.name, request.kind.name, request.parent) == ("POST /items", "SERVER", None)
    assert dict(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/items",
        "http.response.status_code": 201,
        "i3rec.model_version": "v1",
    }
    assert [span.name for span in stages] == ["encode", "journal", "index"]
    assert all(span.parent.span_id == request.context.span_id for span in stages)
    assert all(request.start_time <= span.start_time <= span.end_time <= request.end_time for span in stages)


async def test_lists_have_spans_with_their_stages(traced: Traced) -> None:
    """Also where the search runs on a thread: filtering and searching belong to the request they are for."""
    await traced.client.get("/recommend/u1", params={"k": 3, "category": "a"})
    await traced.client.get("/recommend/u1", params={"k": 3})

    request, filtering, search, quick, quick_search = traced.spans()

    assert request.name == quick.name == "GET /recommend/{user_id}"
    assert [filtering.name, search.name, quick_search.name] == ["filter", "search", "search"]
    assert filtering.parent.span_id == search.parent.span_id == request.context.span_id
    assert quick_search.parent.span_id == quick.context.span_id


async def test_spans_say_who_made_them(traced: Traced) -> None:
    """The service by name and version, and which of its replicas."""
    await traced.client.get("/recommend/u1")

    about = traced.spans()[0].resource.attributes

    assert (about["service.name"], about["service.version"]) == ("i3rec", "0.1.0")
    assert about["service.instance.id"] == "here:8000"


async def test_spans_name_nobody(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that goes through a stage leaves no message, nor is what it was part of taken for failed."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise StorageUnavailable("item 'a' was not written")

    monkeypatch.setattr(SqlJournal, "append", refuse)
    answer = await traced.client.post("/items", json={"item_id": "a"})

    request, *stages = traced.spans()
    assert answer.status_code == 503
    assert "journal" in [span.name for span in stages]
    assert [span.events for span in (request, *stages)] == [()] * (1 + len(stages))
    assert [span.status.description for span in (request, *stages)] == [None] * (1 + len(stages))
    assert all(span.status.status_code.name == "UNSET" for span in stages)


async def test_traces_of_callers_go_on(traced: Traced) -> None:
    """A request with a traceparent is part of that trace, below the span that it names."""
    await traced.client.get("/recommend/u1", headers={"traceparent": CALLER})

    request = traced.spans()[0]

    assert f"{request.context.trace_id:032x}" == CALLER.split("-")[1]
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]


async def test_traces_that_a_caller_does_not_record_are_not_recorded(traced: Traced) -> None:
    """Whether a trace is recorded is for whoever began it to say."""
    await traced.client.get("/recommend/u1", headers={"traceparent": UNRECORDED})

    assert traced.spans() == []


@pytest.mark.parametrize("share", [0.0])
async def test_a_share_of_the_traces_is_recorded(traced: Traced) -> None:
    """With a share of 0 nothing is recorded but what callers record."""
    await traced.client.get("/recommend/u1")
    assert traced.spans() == []

    await traced.client.get("/recommend/u1", headers={"traceparent": CALLER})
    assert traced.spans()[0].name == "GET /recommend/{user_id}"


async def test_logs_have_the_id_of_the_trace(traced: Traced, caplog: pytest.LogCaptureFixture) -> None:
    """The id of the trace that began here, as of the one a caller began, stands in the lines of the request."""
    formatted: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            formatted.append(json.loads(JsonFormatter().format(record)))

    caplog.set_level("INFO")
    logging.getLogger("service").addHandler(handler := Kept())
    try:
        await traced.client.post("/items", json={"item_id": "a"})
    finally:
        logging.getLogger("service").removeHandler(handler)

    ids = {f"{span.context.trace_id:032x}" for span in traced.spans()}
    assert len(ids) == 1
    assert {line["trace_id"] for line in formatted if line["event"] == "request"} == ids


async def test_spans_say_what_failed(traced: Traced) -> None:
    """An answer of 5xx makes a failed span; one of 4xx is the caller's own; no span has a path, which holds ids."""
    await traced.client.get("/nothing/of/the/kind")
    await traced.client.post("/models/v9/activate")
    await traced.client.request("BREW", "/items/secret-id")

    spans = [span for span in traced.spans() if span.parent is None]

    assert [span.name for span in spans] == [
        "GET unmatched",
        "POST /models/{version}/activate",
        "other /items/{item_id}",
    ]
    assert [span.status.status_code.name for span in spans] == ["UNSET"] * 3
    assert "secret-id" not in "".join(span.to_json() for span in spans)


async def test_probes_and_scrapes_are_not_traced(traced: Traced) -> None:
    """Whoever watches asks every few seconds."""
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await traced.client.get(path)).status_code == 200

    assert traced.spans() == []


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto")):
            raise ModuleNotFoundError(name)

if sys.argv[2] == "absent":
    sys.meta_path.insert(0, Absent())

import threading
from service.app import create_app
from service.settings import Settings

app = create_app(Settings(model_store=sys.argv[1]))
ours = {"service.tracing", "opentelemetry.exporter", "opentelemetry.sdk.trace", "opentelemetry.proto"}
assert not ours & set(sys.modules), ours & set(sys.modules)
assert not any("Traced" in each.cls.__name__ for each in app.user_middleware)
assert not app._native_telemetry.enabled()
assert threading.active_count() == 1
"""


@pytest.mark.parametrize("extra", ["absent", "installed"])
def test_what_is_off_is_not_imported(settings: Settings, extra: str) -> None:
    """Without an address an app is made with nothing that makes or sends spans, whether or not that is installed."""
    command = [sys.executable, "-c", WITHOUT, str(settings.model_store), extra]

    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], timeout=60)


def test_without_the_extra_an_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that cannot send what it is asked to send does not start, and says what is missing."""

    def absent(module: str) -> None:
        raise ModuleNotFoundError(module)

    monkeypatch.setattr(settings_module, "find_spec", absent)

    with pytest.raises(ValidationError) as caught:
        Settings(model_store=Path("m"), trace_endpoint="http://collector:4318/v1/traces")

    assert explain(caught.value) == "I3REC_TRACE_ENDPOINT: traces need OpenTelemetry: pip install '.[trace]'"


def test_addresses_of_collectors_are_checked() -> None:
    """What is no address of HTTP is refused at start, not at the first trace."""
    with pytest.raises(ValidationError) as caught:
        Settings(model_store=Path("m"), trace_endpoint="collector:4317")

    assert "I3REC_TRACE_ENDPOINT: expected an address" in explain(caught.value)
