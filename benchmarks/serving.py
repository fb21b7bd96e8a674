"""How many lists a second one process serves, beside a route that does nothing but return as many bytes.

    python -m benchmarks.serving --items 50000

Publishes a synthetic shop, starts the service and the bare route on it, and loads them in turns by wrk (a package of
Debian's) over 32 connections: users of whom none comes twice, others by Zipf's law, fifty users over and over, and the
first two while items are inserted. Each round has all of these lines. Each line gives the ratio to the bare route
beside it, and with inserts how much less of that it is than without, round by round. Then both get the same load, half
of what the service can bear, at random times. The service searches for nothing before it is asked
(*cold*); a second one does (*warmed*) and is waited for.
"""

import argparse
import itertools
import json
import os
import re
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.processes import for_shop, free_port, meanwhile, resident_mib, server
from benchmarks.shop import MODALITIES, Shop, publish_shop
from benchmarks.wrk import CONNECTIONS, SCRIPTS, Load, load, medians, script_of, write_scripts
from model_store import ModelStore

_ONCE = next(iter(SCRIPTS))  # the load in which no user comes twice
_Both = tuple[Load, Load]  # the service, and the bare route
_WARM_S = 600  # how long is waited for
_PER_SECOND = 10  # batches of inserts
_DELETIONS = 10  # at a time
_SPARE_S = 5  # that a load may take longer than it was to
console = Console(width=120)


@dataclass(frozen=True, slots=True)
class Line:
    """A load: who asks, and how many items are inserted a second meanwhile."""

    label: str
    inserts: int

    @property
    def name(self) -> str:
        """As it is shown."""
        return self.label + (f", {self.inserts:,} inserts/s" if self.inserts else "")


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="default 50000")
    parser.add_argument("--users", type=int, default=200_000, help="by Zipf's law; default 200000")
    parser.add_argument("--once", type=int, default=400_000, help="users who come once at most; default 400000")
    parser.add_argument("--seconds", type=int, default=5, help="of one load; default 5")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument(
        "--inserts", type=int, default=1000, help="items a second in the lines with inserts; default 1000"
    )
    args = parser.parse_args()
    if not shutil.which("wrk"):
        console.print("wrk is not installed (Debian: apt install wrk)")
        return 1
    with tempfile.TemporaryDirectory(prefix="i3rec-serving-") as name:
        _measure(Path(name), args)
    return 0


def _measure(directory: Path, args: argparse.Namespace) -> None:
    publish_shop(ModelStore(directory / "store"), "synthetic", Shop(args.items, args.users + args.once))
    write_scripts(directory)
    lines = [Line(label, 0) for label in SCRIPTS]
    lines += [Line(label, args.inserts) for label in list(SCRIPTS)[:2] if args.inserts]
    with service(directory, args.users + args.once, warm=False) as (url, pid, started_s):
        console.print(f"{args.items:,} items: started in {started_s:.1f} s, {resident_mib(pid):.0f} MiB resident")
        (directory / "body").write_bytes(httpx.get(f"{url}/recommend/user-0").content)
        _measure_lines("cold", directory, url, lines, args)
        console.print(f"{resident_mib(pid):.0f} MiB resident in the end")
    for file in directory.glob("journal.*"):  # the items that were inserted
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    with service(directory, args.users + args.once, warm=True) as (url, pid, _):
        console.print(f"warmed after {_until_warmed(url):.0f} s, {resident_mib(pid):.0f} MiB resident")
        _measure_lines("warmed", directory, url, lines[:2], args)


def _measure_lines(name: str, directory: Path, url: str, lines: Sequence[Line], args: argparse.Namespace) -> None:
    """Loads the service and the bare route in turns, line after line in each round; then both with the same load."""
    table = Table(
        f"load, {name}", "lists/s", "p50 ms", "p99 ms", "bare/s", "bare p99 ms", "ratio", "p99 ratio", "less by inserts"
    )
    alike = Table(
        f"same load, {name}", "offered/s", "lists/s", "p50 ms", "p99 ms", "bare/s", "bare p99 ms", "p99 ratio"
    )
    rests = dict.fromkeys(lines, 0.0)
    with bare_route(directory) as bare:
        firsts = _firsts(lines, args)

        def rounds() -> dict[Line, list[_Both]]:
            found: dict[Line, list[_Both]] = {line: [] for line in lines}
            for _ in range(args.rounds):
                for line in lines:
                    found[line].append(_both(directory, url, bare, line, next(firsts[line]), rests[line], args))
            return found

        full = rounds()
        most = max(ours.per_second * args.seconds for line in lines if line.label == _ONCE for ours, _ in full[line])
        if most > _apart(lines, args):
            console.print(f"users came twice: --once is to be {most / _apart(lines, args):.1f} times as much")
        for line, both in full.items():
            ours, theirs = (medians(each) for each in zip(*both, strict=True))
            ratio = ours.per_second / theirs.per_second
            less = f"{1 - _share(both, full[Line(line.label, 0)]):.0%}" if line.inserts else ""
            p99 = f"{ours.p99_ms / theirs.p99_ms:.1f}"
            table.add_row(line.name, *_cells(ours, theirs), f"{ratio:.2f}", p99, less)
            rests[line] = 2 * 1000 * CONNECTIONS / ours.per_second
        for line, both in rounds().items():
            ours, theirs = (medians(each) for each in zip(*both, strict=True))
            offered = f"{1000 * CONNECTIONS / rests[line]:,.0f}"
            alike.add_row(line.name, offered, *_cells(ours, theirs), f"{ours.p99_ms / theirs.p99_ms:.1f}")
    console.print(table, alike)


def _firsts(lines: Sequence[Line], args: argparse.Namespace) -> dict[Line, Iterator[int]]:
    """Where each load of a line begins: where users are to come once, as far as may be from all others."""
    once = [line for line in lines if line.label == _ONCE]
    apart = _apart(lines, args)
    begins = {line: args.users + 2 * args.rounds * once.index(line) * apart for line in once}
    return {line: itertools.count(begins.get(line, place), apart) for place, line in enumerate(lines)}


def _apart(lines: Sequence[Line], args: argparse.Namespace) -> int:
    """How many users a load has, each of whom is to come once."""
    return int(args.once // (2 * args.rounds * sum(line.label == _ONCE for line in lines)))


def _both(
    directory: Path, url: str, bare: str, line: Line, first: int, mean_ms: float, args: argparse.Namespace
) -> _Both:
    """One after the other; ``mean_ms`` is what a connection rests between requests."""
    script, once = script_of(directory, line.label), line.label == _ONCE
    users = args.users + args.once if once else args.users
    how = {"seconds": args.seconds, "users": users, "first": first, "mean_ms": mean_ms}
    theirs = load(script, bare, **how)
    with _inserting(url, line.inserts, args.seconds):
        return load(script, url, **how), theirs


def _share(some: Sequence[_Both], others: Sequence[_Both]) -> float:
    """What there was of others' answers, as the median of rounds, each measured by the bare route beside it."""
    shares = [
        (ours.per_second / bare.per_second) / (others_ours.per_second / others_bare.per_second)
        for (ours, bare), (others_ours, others_bare) in zip(some, others, strict=True)
    ]
    return statistics.median(shares)


def _cells(ours: Load, theirs: Load) -> list[str]:
    numbers = (ours.per_second, ours.p50_ms, ours.p99_ms, theirs.per_second, theirs.p99_ms)
    formats = ("{:,.0f}", "{:.1f}", "{:.1f}", "{:,.0f}", "{:.1f}")
    return [form.format(number) for form, number in zip(formats, numbers, strict=True)]


def _until_warmed(url: str) -> float:
    """Waits until no more lists are remembered; returns how long that took, seconds."""
    begun, before = time.monotonic(), -1.0
    while (remembered := _remembered(url)) != before and time.monotonic() - begun < _WARM_S:
        before = remembered
        time.sleep(4)
    return time.monotonic() - begun


def _remembered(url: str) -> float:
    found = re.search(r"^i3rec_search_remembered_lists (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@contextmanager
def _inserting(url: str, per_second: int, seconds: int) -> Iterator[None]:
    """Inserts new items at that pace meanwhile, a tenth of a second's worth at a time; afterwards they are deleted.

    So each load finds a catalogue of the same size. What is sent is written down before.
    """
    size, batches = max(1, per_second // _PER_SECOND), _PER_SECOND * (seconds + _SPARE_S)
    bodies = [_batch(size) for _ in range(batches if per_second else 0)]
    inserted: list[str] = []

    def insert(over: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=60, headers={"Content-Type": "application/x-ndjson"}) as client:
            begun = time.monotonic()
            for number, (ids, body) in enumerate(bodies, 1):
                client.post("/items/batch", content=body).raise_for_status()
                inserted.extend(ids)
                ahead_s = begun + number / _PER_SECOND - time.monotonic()
                if over.wait(max(0.0, ahead_s)):
                    break
            else:
                raise RuntimeError(f"the load took {_SPARE_S} s too long: there was nothing left to insert")
            if ahead_s < -1:
                raise RuntimeError(f"inserts are {-ahead_s:.1f} s late: they are fewer than {per_second:,} a second")

    with meanwhile(insert if per_second else None):
        yield
    _delete(url, inserted)


def _batch(size: int) -> tuple[list[str], bytes]:
    """New items: their ids, and they as they are sent."""
    rng, name = np.random.default_rng(), secrets.token_hex(4)
    ids = [f"{name}-{n}" for n in range(size)]
    return ids, "\n".join(new_item(item_id, rng) for item_id in ids).encode()


def _delete(url: str, item_ids: Sequence[str]) -> None:
    """Deletes items, many at a time, so that they share flushes to disk."""
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(_DELETIONS) as pool:
        for answer in pool.map(lambda item_id: client.delete(f"/items/{item_id}"), item_ids):
            answer.raise_for_status()


def new_item(item_id: str, rng: np.random.Generator) -> str:
    """An item unlike any other, whose vector is about as long as theirs."""
    modalities = {name: rng.normal(scale=0.2, size=d).round(4).tolist() for name, d in MODALITIES.items()}
    return json.dumps({"item_id": item_id, "modalities": modalities})


@contextmanager
def service(directory: Path, users: int, *, warm: bool) -> Iterator[tuple[str, int, float]]:
    """The service; gives its address, its process, and how long it took to start."""
    port = str(free_port())
    url, started = f"http://127.0.0.1:{port}", time.perf_counter()
    environment = {**for_shop(directory, users, warm=warm), "I3REC_PORT": port}
    with server(["service"], environment, url) as process:
        yield url, process.pid, time.perf_counter() - started


@contextmanager
def bare_route(directory: Path) -> Iterator[str]:
    """A route that returns what is in the file ``body``; gives its address."""
    port = str(free_port())
    url, environment = f"http://127.0.0.1:{port}", {**os.environ, "BODY": str(directory / "body")}
    module = ["uvicorn", "benchmarks.bare:app", "--port", port, "--no-access-log", "--log-level", "warning"]
    with server(module, environment, url, "/recommend/user-0"):
        yield url


if __name__ == "__main__":
    sys.exit(main())
