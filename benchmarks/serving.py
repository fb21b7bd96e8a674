"""How many lists a second one process serves, beside a route that does nothing but return as many bytes.

    python -m benchmarks.serving --items 50000

Publishes a synthetic shop, starts the service and the bare route on it, and loads them in turns by wrk (a package of
Debian's) over 32 connections: users of whom none comes twice, users by Zipf's law, and both while items are inserted.
Each line gives the ratio to the bare route in the same round.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.processes import free_port, resident_mib, wait_ready
from benchmarks.shop import MODALITIES, Shop, publish_shop
from model_store import ModelStore

_USERS = """
function init(args) first = tonumber(args[1]); users = tonumber(args[2]); n = 0 end
request = function() n = n + 1; return wrk.format("GET", "/recommend/user-" .. ((first + n) % users)) end
"""
_ZIPF = """
function init(args) users = tonumber(args[2]); math.randomseed(tonumber(args[1])); spread = math.log(users) + 0.5772 end
request = function()
  local rank = math.floor(math.exp(math.random() * spread - 0.5772))
  if rank < 1 then rank = 1 end
  if rank > users then rank = users end
  return wrk.format("GET", "/recommend/user-" .. (rank - 1))
end
"""
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\b", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

console = Console(width=120)


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: answers a second, and milliseconds of the middle and the slowest of a hundred."""

    per_second: float
    p50_ms: float
    p99_ms: float


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="default 50000")
    parser.add_argument("--users", type=int, default=200_000, help="default 200000")
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
    publish_shop(ModelStore(directory / "store"), "synthetic", Shop(args.items, args.users))
    scripts = {"each user once": _USERS, "users by Zipf's law": _ZIPF}
    for number, script in enumerate(scripts.values()):
        (directory / f"{number}.lua").write_text(script, encoding="utf-8")
    with _service(directory) as (url, pid, started_s):
        console.print(f"{args.items:,} items: started in {started_s:.1f} s, {resident_mib(pid):.0f} MiB resident")
        (directory / "body").write_bytes(httpx.get(f"{url}/recommend/user-0").content)
        with _bare(directory) as bare:
            table = Table("load", "lists/s", "p50 ms", "p99 ms", "bare/s", "bare p99 ms", "ratio", "p99 ratio")
            lines = [(inserts, number, label) for inserts in (0, args.inserts) for number, label in enumerate(scripts)]
            for place, (inserts, number, label) in enumerate(lines):
                name = label + (f", {inserts:,} inserts/s" if inserts else "")
                firsts = [args.users * (place + turn / args.rounds) / len(lines) for turn in range(args.rounds)]
                table.add_row(
                    name, *_line(directory / f"{number}.lua", url, bare, inserts, list(map(int, firsts)), args)
                )
        console.print(table)
        console.print(f"{resident_mib(pid):.0f} MiB resident in the end")


def _line(
    script: Path, url: str, bare: str, inserts: int, firsts: Sequence[int], args: argparse.Namespace
) -> list[str]:
    """The medians of some rounds, each of which loads both, from another user on, so that nobody comes again."""
    ours, theirs = [], []
    for first in firsts:
        theirs.append(_wrk(script, bare, first, args))
        with _inserting(url, inserts):
            ours.append(_wrk(script, url, first, args))
    rate, tail = _median(ours, "per_second"), _median(ours, "p99_ms")
    bare_rate, bare_tail = _median(theirs, "per_second"), _median(theirs, "p99_ms")
    numbers = (rate, _median(ours, "p50_ms"), tail, bare_rate, bare_tail, rate / bare_rate, tail / bare_tail)
    formats = ("{:,.0f}", "{:.1f}", "{:.1f}", "{:,.0f}", "{:.1f}", "{:.2f}", "{:.1f}")
    return [form.format(number) for form, number in zip(formats, numbers, strict=True)]


def _median(loads: list[Load], name: str) -> float:
    return float(statistics.median(getattr(load, name) for load in loads))


def _wrk(script: Path, url: str, first: int, args: argparse.Namespace) -> Load:
    command = ["wrk", "-t1", "-c32", f"-d{args.seconds}s", "--latency", "-s", str(script), url, "--"]
    answer = subprocess.run([*command, str(first), str(args.users)], capture_output=True, text=True, check=True)  # noqa: S603
    if failed := _FAILED.search(answer.stdout):
        console.print(f"[red]{failed[1]} requests failed")
    shares = {share: float(value) * _MS[unit] for share, value, unit in _LATENCY.findall(answer.stdout)}
    rate = _RATE.search(answer.stdout)
    if rate is None:
        raise RuntimeError(f"expected a rate from wrk, found {answer.stdout!r}")
    return Load(float(rate[1]), shares["50"], shares["99"])


@contextmanager
def _inserting(url: str, per_second: int) -> Iterator[None]:
    """Inserts items at that pace meanwhile, a tenth of a second's worth at a time."""
    over = threading.Event()

    def insert() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            number, size = 0, max(1, per_second // 10)
            begun = time.monotonic()
            while not over.is_set():
                vectors = {name: [(number % 7) / 7] * d for name, d in MODALITIES.items()}
                lines = [json.dumps({"item_id": f"new-{number + n}", "modalities": vectors}) for n in range(size)]
                headers = {"Content-Type": "application/x-ndjson"}
                client.post("/items/batch", content="\n".join(lines), headers=headers).raise_for_status()
                number += size
                over.wait(max(0.0, begun + number / per_second - time.monotonic()))

    thread = threading.Thread(target=insert) if per_second else None
    if thread:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread:
            thread.join()


@contextmanager
def _service(directory: Path) -> Iterator[tuple[str, int, float]]:
    """The service; gives its address, its process, and how long it took to start."""
    environment = {
        **os.environ,
        "I3REC_MODEL_STORE": str(directory / "store"),
        "I3REC_JOURNAL_URL": f"sqlite:///{directory}/journal.sqlite3",
        "I3REC_PORT": str(free_port()),
        "I3REC_LOG_LEVEL": "WARNING",
    }
    url = f"http://127.0.0.1:{environment['I3REC_PORT']}"
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_ready(url)
        yield url, process.pid, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _bare(directory: Path) -> Iterator[str]:
    port = str(free_port())
    environment = {**os.environ, "BODY": str(directory / "body")}
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", port, "--no-access-log"]
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)  # noqa: S603 - our own route
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{port}/recommend/user-0")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
