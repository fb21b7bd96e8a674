"""Model versions are exchanged under load: no request fails, no list mixes versions, no memory is lost."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count, pairwise
from typing import Any

import httpx
import pytest

from model_store import ModelStore

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

VERSIONS = ("v1", "v2")
_MEMORY = "process_resident_memory_bytes"
_MOST_GROWTH = 48 << 20


def read(client: httpx.Client, stop: threading.Event) -> int:
    """Asks for lists until it is told to stop, and checks each; returns how many there were."""
    for n in count():
        if stop.is_set():
            return n
        answer = client.get(f"/recommend/u{n % 6}", params={"k": 50})
        assert answer.status_code == 200, answer.text
        scores = [item["score"] for item in answer.json()["items"]]
        assert answer.json()["model_version"] in VERSIONS
        assert answer.json()["model_version"] == answer.headers["X-Model-Version"]
        assert scores
        assert all(before >= after for before, after in pairwise(scores))
    return 0


def write(client: httpx.Client, stop: threading.Event, name: str) -> int:
    """Writes items until it is told to stop, each of which is there at once; returns how many there were."""
    for n in count():
        if stop.is_set():
            return n
        item = {"item_id": f"{name}{n % 50}", "modalities": {"text": [n % 7, 1, 2, 3]}, "attributes": {"n": n}}
        assert client.post("/items", json=item).status_code in {200, 201}
        assert client.get(f"/items/{name}{n % 50}").json()["attributes"] == {"n": n}
        assert client.post("/interactions", json={"user_id": name, "item_id": item["item_id"]}).status_code == 202
    return 0


@pytest.mark.parametrize("activations", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_exchanges_fail_no_request(
    activations: int, start_service: Any, published_store: ModelStore, make_version: Any
) -> None:
    """Readers and writers go on over every exchange, each answer from one of the versions; memory stays bounded."""
    make_version(published_store, "v2", seed=1, promote=False)
    service, stop, memory = start_service(cache_max_items=100), threading.Event(), []
    with ThreadPoolExecutor(4) as pool:
        clients: list[Future[int]] = [pool.submit(read, service.client(), stop) for _ in range(2)]
        clients += [pool.submit(write, service.client(), stop, name) for name in ("a", "b")]
        try:
            for n in range(activations):
                version = VERSIONS[(n + 1) % 2]
                answer = service.client().post(f"/models/{version}/activate")
                assert (answer.status_code, answer.json()["serving"]) == (200, version), answer.text
                memory.append(service.metric(_MEMORY))
        finally:
            stop.set()
        requests = [client.result() for client in clients]

    assert all(requests)
    assert service.metric('i3rec_model_swaps_total{result="failed"}') == 0
    assert service.metric('i3rec_model_swaps_total{result="done"}') == activations + 1
    settled = memory[len(memory) // 5]
    assert max(memory) - settled < _MOST_GROWTH
    growth = (memory[-1] - settled) / 2**20
    print(f"{activations} exchanges, {sum(requests)} rounds of requests, {growth:+.1f} MiB")  # noqa: T201 - figures
