"""The same lists from other servers: how many a second, and how long one takes.

    python -m benchmarks.serving_peers --python PYTHON --items 50000

PYTHON is that of an environment with what benchmarks/peers.txt names. Each server gets the same users and items
(benchmarks.peer_servers), leaves out what a user has seen, and is loaded by wrk over 32 connections as
``benchmarks.serving`` loads ours; what one list takes alone is asked over one connection. All lists are compared with
ours. The bare route is the reference.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.processes import free_port
from benchmarks.serving import bare_route, service
from benchmarks.shop import Shop, publish_shop
from benchmarks.wrk import load
from model_store import ModelStore

PEERS = ("cornac", "qdrant", "milvus")
_ALONE = 20  # lists that are asked for one after the other
_START_S = 600
_SCRIPT = """
function init(args) first = tonumber(args[1]); users = tonumber(args[2]); n = 0 end
request = function() n = n + 1; return wrk.format("GET", string.format("%PATH%", (first + n) % users)) end
"""
_PATHS = {"cornac": "/recommend?uid=user-%d&k=20&remove_seen=true"}
_PATH = "/recommend/user-%d"

console = Console(width=120)


def main() -> int:
    """Runs the benchmark; returns the exit status: 1 where a server gives other lists."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_peers", description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment with the peers")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"default {','.join(PEERS)}")
    parser.add_argument("--items", type=int, default=50_000, help="default 50000")
    parser.add_argument("--users", type=int, default=20_000, help="default 20000")
    parser.add_argument("--seconds", type=int, default=5, help="of one load; default 5")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        console.print("wrk is not installed (Debian: apt install wrk)")
        return 1
    with tempfile.TemporaryDirectory(prefix="i3rec-peers-") as name:
        return _measure(Path(name), args)


def _measure(directory: Path, args: argparse.Namespace) -> int:
    publish_shop(ModelStore(directory / "store"), "synthetic", Shop(args.items, args.users))
    table = Table("server", "ready after s", "one list ms", "lists/s", "p99 ms", "of the bare route", "same lists")
    with service(directory, args.users, warm=False) as (url, _, started_s):
        (directory / "body").write_bytes(httpx.get(f"{url}/recommend/user-0").content)
        with bare_route(directory) as bare:
            reference = _per_second("bare", bare, directory, args)[0]
        right = _add(table, "ours", url, started_s, reference, None, directory, args)
    lists = []
    for peer in args.peers.split(","):
        with _serving(peer, directory, args.python) as (url, started_s):
            lists.append(_add(table, peer, url, started_s, reference, right, directory, args))
    console.print(table, f"bare route: {reference:,.0f} a second")
    return int(any(each != right for each in lists))


def _add(
    table: Table,
    name: str,
    url: str,
    started_s: float,
    reference: float,
    right: list[list[str]] | None,
    directory: Path,
    args: argparse.Namespace,
) -> list[list[str]]:
    """Adds the line of a server; returns the lists it gives."""
    took, lists = [], []
    with httpx.Client(base_url=url, timeout=60) as client:
        for user in range(_ALONE):
            began = time.perf_counter()
            lists.append(_ids(name, client, user))
            took.append(time.perf_counter() - began)
    per_second, p99_ms = _per_second(name, url, directory, args)
    numbers = (f"{started_s:.1f}", f"{median(took) * 1000:.2f}", f"{per_second:,.1f}", f"{p99_ms:,.1f}")
    table.add_row(name, *numbers, f"{per_second / reference:.4f}", "yes" if right in (None, lists) else "no")
    return lists


def _per_second(name: str, url: str, directory: Path, args: argparse.Namespace) -> tuple[float, float]:
    script = directory / f"{name}.lua"
    script.write_text(_SCRIPT.replace("%PATH%", _PATHS.get(name, _PATH)), encoding="utf-8")
    seen = load(script, url, seconds=args.seconds, first=_ALONE, users=args.users)
    return seen.per_second, seen.p99_ms


def _ids(name: str, client: httpx.Client, user: int) -> list[str]:
    answer: dict[str, Any] = client.get(_PATHS.get(name, _PATH) % user).json()
    return answer["recommendations"] if name == "cornac" else [item["item_id"] for item in answer["items"]]


@contextmanager
def _serving(peer: str, directory: Path, python: Path) -> Iterator[tuple[str, float]]:
    """A server of others; gives its address and how long it took to be ready."""
    port = free_port()
    command = [str(python), "-m", "benchmarks.peer_servers", peer, "--store", str(directory / "store")]
    began, url = time.perf_counter(), f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)  # noqa: S603 - our own program
    try:
        while not _answers(url):
            if process.poll() is not None or time.perf_counter() - began > _START_S:
                raise RuntimeError(f"{peer} does not serve")
            time.sleep(0.2)
        yield url, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
