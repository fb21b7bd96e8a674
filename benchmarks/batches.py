"""What it costs to write an item with others: processor's time of the event loop, and of all threads.

    python -m benchmarks.batches --items 50000

Publishes a synthetic shop, runs the service in this process without a server, and writes batches of new items by
``POST /items/batch``, as lines. Nobody reads meanwhile, so times are what the work takes by itself, without waiting for
Python's lock; of many batches the 15th percentile counts, as on a shared machine a processor is not always as quick.
"""

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastapi import FastAPI

from benchmarks.serving import new_item
from benchmarks.shop import Shop, publish_shop
from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

_HEADERS = [(b"content-type", b"application/x-ndjson")]
_SEEN = 15  # percentile
_UNSEEN = 10  # batches before any counts


def main() -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="in the catalogue before; default 50000")
    parser.add_argument("--batch", type=int, default=100, help="items that come together; default 100")
    parser.add_argument("--batches", type=int, default=200, help="default 200")
    args = parser.parse_args()
    gc.set_threshold(50_000, 20, 100)  # as ``python -m service`` does
    with tempfile.TemporaryDirectory(prefix="i3rec-batches-") as name:
        loop_us, all_us = measure(Path(name), args.items, args.batch, args.batches)
    print(f"an item of {args.batch}: {all_us:.0f} µs of a processor in all, {loop_us:.0f} of them on the event loop")
    return 0


def measure(directory: Path, items: int, size: int, batches: int) -> tuple[float, float]:
    """Microseconds of a processor that an item takes: on the event loop, and in the whole process."""
    publish_shop(ModelStore(directory / "store"), "synthetic", Shop(items, 1000))
    journal = f"sqlite:///{directory}/journal.sqlite3"
    settings = Settings(model_store=directory / "store", journal_url=journal, warm_lists=False)
    spent = asyncio.run(_write(create_app(settings), _bodies(size, _UNSEEN + batches)))[_UNSEEN:]
    loop_s, all_s = np.percentile(spent, _SEEN, axis=0)
    return 1e6 * loop_s / size, 1e6 * all_s / size


def _bodies(size: int, batches: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return ["\n".join(new_item(f"new-{b}-{n}", rng) for n in range(size)).encode() for b in range(batches)]


async def _write(app: FastAPI, bodies: Sequence[bytes]) -> list[tuple[float, float]]:
    """Writes one batch after the other; processor's time of each, seconds: this thread's, and the process'."""
    spent = []
    async with app.router.lifespan_context(app) as state:
        for body in bodies:
            before = time.thread_time(), time.process_time()
            await _post(app, dict(state or {}), body)
            spent.append((time.thread_time() - before[0], time.process_time() - before[1]))
    return spent


async def _post(app: FastAPI, state: dict[str, object], body: bytes) -> None:
    path = "/items/batch"
    scope: dict[str, object] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}
    scope |= {"method": "POST", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b""}
    answer = bytearray()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        answer.extend(bytes(message.get("body", b"")))  # type: ignore[call-overload]

    await app(scope | {"headers": _HEADERS, "state": state}, receive, send)  # type: ignore[arg-type]
    if b'"failed":0}' not in answer:
        raise RuntimeError(f"expected all items to be written, found {bytes(answer[-200:])!r}")


if __name__ == "__main__":
    sys.exit(main())
