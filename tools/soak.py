"""Keeps mixed load on a service for a long time and watches its memory: ``python tools/soak.py --minutes 30``.

A small model is trained on synthetic data of about the demo's size, the service started on it, and clients write items,
patch and delete them, stream batches, note interactions, erase users, ask for lists of every kind and, now and then,
exchange the model. Printed are the resident memory over time, its slope over the second half (least squares) and the
requests that failed. Exit status 1: some failed, or the memory grew by more than ``--most`` MiB an hour.
"""

import argparse
import json
import os
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from demo_server import Server, free_port, python

_INTERACTIONS = "30000"  # 3,000 users, 1,500 items
_MODALITIES = {"image": 64, "text": 64}
_CLIENTS = 4
_ITEMS, _USERS = 500, 200  # of each client; written over and over, so that a sound service stops growing
_ACTIVATE_EVERY_S = 30.0
_MIB = 2**20


class Shopper:
    """One client: writes its own items, asks for lists, and counts what was answered otherwise than it should be."""

    def __init__(self, number: int, url: str) -> None:
        self.requests: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._rng = random.Random(number)  # noqa: S311 - load, not a secret
        self._number = number
        self._client = httpx.Client(base_url=url, timeout=60)

    def shop(self, stop: threading.Event) -> None:
        """Goes on until it is told to stop."""
        steps: list[Callable[[], None]] = [self._list] * 6 + [self._put, self._patch, self._interact] * 2
        steps += [self._delete, self._batch, self._session, self._erase]
        while not stop.is_set():
            self._rng.choice(steps)()
        self._client.close()

    def _send(self, name: str, expected: set[int], method: str, path: str, **options: Any) -> None:
        self.requests[name] += 1
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as exc:
            self.errors[f"{name}: {exc!r}"] += 1
            return
        if answer.status_code not in expected:
            self.errors[f"{name}: {answer.status_code} {answer.text[:200]}"] += 1

    def _item(self) -> str:
        return f"s{self._number}-{self._rng.randrange(_ITEMS)}"

    def _user(self) -> str:
        return str(self._rng.randrange(1000)) if self._rng.random() < 0.5 else f"p{self._rng.randrange(_USERS)}"

    def _body(self) -> dict[str, Any]:
        present = [name for name in _MODALITIES if self._rng.random() < 0.6]
        vectors = {name: [self._rng.gauss(0, 1) for _ in range(_MODALITIES[name])] for name in present}
        return {"item_id": self._item(), "title": "soak", "categories": ["a", "b"], "modalities": vectors}

    def _list(self) -> None:
        options = {"k": self._rng.choice([10, 50]), "explain": self._rng.random() < 0.1}
        self._send("list", {200}, "GET", f"/recommend/{self._user()}", params=options)

    def _session(self) -> None:
        history = [self._item(), str(self._rng.randrange(1000))]
        self._send("session", {200}, "POST", "/recommend", json={"history": history, "diversity": 0.3})

    def _put(self) -> None:
        self._send("put", {200, 201}, "POST", "/items", json=self._body())

    def _patch(self) -> None:
        self._send("patch", {200, 404}, "PATCH", f"/items/{self._item()}", json={"attributes": {"n": 1}})

    def _delete(self) -> None:
        self._send("delete", {204, 404}, "DELETE", f"/items/{self._item()}")

    def _batch(self) -> None:
        lines = "".join(json.dumps(self._body()) + "\n" for _ in range(50))
        kind = {"Content-Type": "application/x-ndjson"}
        self._send("batch", {207}, "POST", "/items/batch", content=lines, headers=kind)

    def _interact(self) -> None:
        events = [{"user_id": self._user(), "item_id": self._item()} for _ in range(3)]
        self._send("interact", {202}, "POST", "/interactions", json=events)

    def _erase(self) -> None:
        self._send("erase", {204}, "DELETE", f"/users/p{self._rng.randrange(_USERS)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python tools/soak.py", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of load, default 30")
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks at the memory, default 5")
    parser.add_argument("--most", type=float, default=float("inf"), help="MiB an hour; default: only tell")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="i3rec-soak-") as directory:
        root = Path(directory)
        store, port = _train(root), free_port()
        # A cache that is full soon, so that its filling is no growth; a log that is not the load.
        os.environ |= {"I3REC_CACHE_MAX_ITEMS": "1000", "I3REC_LOG_LEVEL": "WARNING"}
        with Server(store, root / "journal.sqlite3", port, root / "service.log") as server:
            samples, shoppers = _soak(server.url, 60 * args.minutes, args.every)
    slope = _report(samples, shoppers)
    return int(any(shopper.errors for shopper in shoppers) or slope > args.most)


def _train(root: Path) -> Path:
    """A store with two small models, the second one promoted."""
    data, store = root / "data", root / "store"
    python("-m", "benchmarks.catalogue", "--interactions", _INTERACTIONS, "--out", str(data))
    small = ("--epochs", "1", "--evaluate-every", "1", "--d", "64", "--hidden", "32", "--unobserved", "70")
    for _ in range(2):
        python("-m", "training", "train", "--data", str(data), "--store", str(store), "--promote", *small)
    return store


def _soak(url: str, seconds: float, every: float) -> tuple[list[tuple[float, float]], list[Shopper]]:
    """Keeps load on a service; returns (seconds since the start, resident MiB) samples and the clients."""
    shoppers, stop = [Shopper(number, url) for number in range(_CLIENTS)], threading.Event()
    started, samples = time.monotonic(), [(0.0, _resident(url))]
    with ThreadPoolExecutor(_CLIENTS) as pool, httpx.Client(base_url=url, timeout=60) as operator:
        load = [pool.submit(shopper.shop, stop) for shopper in shoppers]
        try:
            while samples[-1][0] < seconds and not any(client.done() for client in load):
                time.sleep(every)
                before, now = samples[-1][0], time.monotonic() - started
                if now // _ACTIVATE_EVERY_S > before // _ACTIVATE_EVERY_S:
                    _exchange(operator, shoppers[0])
                samples.append((now, _resident(url)))
                if now // 60 > before // 60:
                    print(f"{now / 60:5.0f} min {samples[-1][1]:7.1f} MiB", flush=True)
        finally:
            stop.set()
        for client in load:
            client.result()
    return samples, shoppers


def _exchange(operator: httpx.Client, shopper: Shopper) -> None:
    """Lets the version serve that does not."""
    models = operator.get("/models").json()
    (other,) = set(models["versions"]) - {models["serving"]}
    answer = operator.post(f"/models/{other}/activate")
    shopper.requests["activate"] += 1
    if answer.status_code != 200:
        shopper.errors[f"activate: {answer.status_code} {answer.text[:200]}"] += 1


def _resident(url: str) -> float:
    found = re.search(
        r"^process_resident_memory_bytes (\S+)$", httpx.get(f"{url}/metrics", timeout=60).text, re.MULTILINE
    )
    if found is None:
        raise SystemExit("/metrics tells no process_resident_memory_bytes on this system")
    return float(found[1]) / _MIB


def _report(samples: Sequence[tuple[float, float]], shoppers: Sequence[Shopper]) -> float:
    """Prints what was found; returns the slope over the second half, MiB an hour."""
    late = np.array(samples[len(samples) // 2 :])
    slope = float(np.polyfit(late[:, 0] / 3600, late[:, 1], 1)[0]) if len(late) > 1 else 0.0
    requests = sum((shopper.requests for shopper in shoppers), Counter())
    errors = sum((shopper.errors for shopper in shoppers), Counter())
    minutes = samples[-1][0] / 60
    print(f"{requests.total():,} requests in {minutes:.1f} minutes: {dict(sorted(requests.items()))}")
    most = max(mib for _, mib in samples)
    print(f"resident memory: {samples[0][1]:.0f} MiB at first, {most:.0f} at most, {samples[-1][1]:.0f} at last")
    print(f"slope over the second half: {slope:+.1f} MiB an hour")
    print(f"errors: {errors.total()}")
    for error, n in errors.most_common(20):
        print(f"  {n} x {error}")
    return slope


if __name__ == "__main__":
    raise SystemExit(main())
