"""No piece of work holds the event loop for long: probes are answered meanwhile."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from model_store import ModelStore

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

_ITEMS = 2000
_LONGEST_S = 2.0


def watch(client: httpx.Client, stop: threading.Event) -> list[float]:
    """Asks /livez until it is told to stop; returns how long each answer took, in seconds."""
    waits = []
    while not stop.is_set():
        started = time.monotonic()
        assert client.get("/livez").status_code == 200
        waits.append(time.monotonic() - started)
    return waits


def test_probes_are_answered_during_a_batch_and_an_exchange(
    start_service: Any, published_store: ModelStore, make_version: Any
) -> None:
    """While 2,000 items are streamed in and another version is built and exchanged, no probe waits for long."""
    make_version(published_store, "v2", seed=1, promote=False)
    service, stop = start_service(), threading.Event()
    lines = "".join(
        json.dumps({"item_id": f"n{n}", "modalities": {"text": [n, 1, 2, 3], "image": [1, n, 2]}}) + "\n"
        for n in range(_ITEMS)
    )
    headers = {"Content-Type": "application/x-ndjson"}
    with ThreadPoolExecutor(2) as pool:
        watching = pool.submit(watch, service.client(), stop)
        try:
            streaming = pool.submit(service.client().post, "/items/batch", content=lines, headers=headers)
            for version in ("v2", "v1", "v2"):
                activated = service.client().post(f"/models/{version}/activate")
                assert activated.status_code == 200, activated.text
            summary = json.loads(streaming.result().text.splitlines()[-1])
            assert service.client().post("/models/v1/activate").status_code == 200  # with all items to encode anew
        finally:
            stop.set()
        waits = watching.result()

    assert summary == {"written": _ITEMS, "failed": 0}
    assert service.metric("i3rec_online_items") == _ITEMS
    assert len(waits) > 10
    assert max(waits) < _LONGEST_S
    print(f"{len(waits)} probes, the longest {1000 * max(waits):.0f} ms")  # noqa: T201 - a figure
