"""Several processes are several replicas: each has a port and metrics of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelStore

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
LISTS = 'i3rec_recommendations_total{strategy="personal"}'


def test_processes_on_one_journal_count_their_own(start_service: Any) -> None:
    """What each has answered stands in its own metrics and in no other's; what both hold stands in both."""
    one, other = start_service(follow_poll_s=0.05), start_service(follow_poll_s=0.05)
    for service, lists in ((one, 3), (other, 5)):
        client = service.client()
        for _ in range(lists):
            assert client.get("/recommend/u1").status_code == 200
    assert one.client().post("/items", json={"item_id": "new"}).status_code == 201

    other.wait_until(lambda: other.metric("i3rec_new_items") == 1)

    assert (one.metric(LISTS), other.metric(LISTS)) == (3, 5)
    assert one.metric("i3rec_new_items") == 1
    assert one.metric("i3rec_index_items") == other.metric("i3rec_index_items") == 13
    items = 'i3rec_http_requests_total{method="POST",route="/items",status="201"}'
    assert (one.metric(items), other.metric(items)) == (1, 0)


def test_workers_are_not_made(start_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks a server for several workers is not heeded: all requests of a port are in one registry."""
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    service = start_service()
    for _ in range(20):
        assert service.client().get("/recommend/u1").status_code == 200

    assert service.metric(LISTS) == 20


def test_a_port_has_one_process(start_service: Any, tmp_path: Path, published_store: ModelStore) -> None:
    """A second one on the same port ends with an error and takes no request from the first."""
    service = start_service()
    environment = {
        **os.environ,
        "I3REC_MODEL_STORE": str(published_store.root),
        "I3REC_JOURNAL_URL": f"sqlite:///{tmp_path}/journal.sqlite3",
        "I3REC_PORT": service.url.rpartition(":")[2],
    }

    done = subprocess.run(
        [sys.executable, "-m", "service"], env=environment, check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode != 0
    assert "address already in use" in done.stderr.lower()
    assert service.client().get("/readyz").status_code == 200
