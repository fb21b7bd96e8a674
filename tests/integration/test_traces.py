"""Traces as a collector gets them: a real process of the service, real OTLP over HTTP."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelStore

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(ThreadingHTTPServer):
    """Takes what is posted and parses it as the protocol says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.requests: list[Any] = []
        self.address = f"http://127.0.0.1:{self.server_port}/v1/traces"


class Receiver(BaseHTTPRequestHandler):
    """One post."""

    server: Collector

    def do_POST(self) -> None:
        """Keeps it and says that it was taken."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf"):
            self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is written down."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that listens."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def serving(tmp_path: Path, store: ModelStore, endpoint: str) -> Iterator[httpx.Client]:
    """The service as a process that sends its traces there; stopped by SIGTERM."""
    environment = {
        **os.environ,
        "I3REC_MODEL_STORE": str(store.root),
        "I3REC_JOURNAL_URL": f"sqlite:///{tmp_path}/journal.sqlite3",
        "I3REC_PORT": "0",
        "I3REC_TRACE_ENDPOINT": endpoint,
    }
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        url = process.stdout.readline().rpartition(" ")[2].strip()
        assert url.startswith("http"), log.read_text("utf-8")
        with httpx.Client(base_url=url, timeout=30) as client:
            deadline = time.monotonic() + 60
            while not _ready(client):
                assert time.monotonic() < deadline, log.read_text("utf-8")
                time.sleep(0.02)
            yield client
    finally:
        process.terminate()
        status = process.wait(timeout=60)
        process.stdout.close()
    assert status == -signal.SIGTERM, log.read_text("utf-8")


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def facts(attributes: Any) -> dict[str, Any]:
    """Attributes of the protocol as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def test_a_collector_gets_every_span(tmp_path: Path, published_store: ModelStore, collector: Collector) -> None:
    """All that ended before the service did arrives, with who made it, in the trace of its caller."""
    with serving(tmp_path, published_store, collector.address) as client:
        item = {"item_id": "a", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}}
        assert client.post("/items", json=item, headers={"traceparent": CALLER}).status_code == 201
        assert client.get("/recommend/u1").status_code == 200

    resources = [resource for request in collector.requests for resource in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    named = {span.name: span for span in spans}
    post, get = named["POST /items"], named["GET /recommend/{user_id}"]

    assert {facts(resource.resource.attributes)["service.name"] for resource in resources} == {"i3rec"}
    assert {facts(resource.resource.attributes)["service.version"] for resource in resources} == {"0.1.0"}
    assert (post.trace_id.hex(), post.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
    assert facts(post.attributes)["i3rec.model_version"] == "v1"
    assert facts(post.attributes)["http.response.status_code"] == 201
    for stage in ("encode", "journal", "index"):
        assert (named[stage].trace_id, named[stage].parent_span_id) == (post.trace_id, post.span_id)
    assert named["search"].parent_span_id == get.span_id
    assert len(spans) == len(named) + sum(span.name == "search" for span in spans) - 1


def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Path, published_store: ModelStore) -> None:
    """Requests are answered and the service ends as asked, in seconds, though nobody takes its traces."""
    with serving(tmp_path, published_store, "http://127.0.0.1:9/v1/traces") as client:
        answers = [client.get("/recommend/u1").status_code for _ in range(50)]
        began = time.monotonic()

    assert answers == [200] * 50
    assert time.monotonic() - began < 30
