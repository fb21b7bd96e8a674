"""How long it takes from sending an item until it can be found, beside what the disk takes by itself.

    python -m benchmarks.inserts

Publishes a synthetic shop, starts the service, and puts one item after another by POST /items: each answer says that
its item is on disk and can be found, which is looked up. Server-Timing says what the journal took, of which nearly all
is the flush to disk; the rest, as the caller sees it, is *beyond*. The reference, in turns with it on the same disk, is
SQLite alone with rows of the same bytes, each flushed. Once nobody else asks, and once while lists are asked for at
that pace (by wrk, a package of Debian's).
"""

import argparse
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.processes import meanwhile
from benchmarks.serving import new_item, service
from benchmarks.shop import Shop, publish_shop
from benchmarks.wrk import CONNECTIONS, SCRIPTS, load, script_of, write_scripts
from model_store import ModelStore

_JOURNAL = re.compile(r"\bjournal;dur=([\d.]+)")
console = Console(width=120)


@dataclass(slots=True)
class Times:
    """Milliseconds of one insert after another."""

    total: list[float] = field(default_factory=list)
    journal: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)

    @property
    def beyond(self) -> list[float]:
        """What the journal did not take."""
        return [total - journal for total, journal in zip(self.total, self.journal, strict=True)]


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inserts", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="default 50000")
    parser.add_argument("--users", type=int, default=200_000, help="default 200000")
    parser.add_argument("--inserts", type=int, default=2000, help="in each company; default 2000")
    parser.add_argument("--lists", type=int, default=1000, help="asked for a second meanwhile; default 1000")
    parser.add_argument("--directory", type=Path, help="on the disk to be measured; default: the temporary directory")
    args = parser.parse_args()
    if not shutil.which("wrk"):
        console.print("wrk is not installed (Debian: apt install wrk)")
        return 1
    table = Table("meanwhile", "milliseconds of", "p50", "p90", "p99", "largest")
    with tempfile.TemporaryDirectory(prefix="i3rec-inserts-", dir=args.directory) as name:
        directory = Path(name)
        publish_shop(ModelStore(directory / "store"), "synthetic", Shop(args.items, args.users))
        write_scripts(directory)
        with service(directory, args.users, warm=False) as (url, _, _):
            for lists in (0, args.lists):
                with _asking(directory, url, lists, args):
                    _show(table, f"{lists:,} lists/s", _insert(directory, url, f"{lists}", args.inserts))
    console.print(table)
    return 0


def _insert(directory: Path, url: str, name: str, n: int) -> Times:
    times, rng = Times(), np.random.default_rng(n)
    connection = sqlite3.connect(directory / f"reference-{name}.sqlite3", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE journal (seq INTEGER PRIMARY KEY, entry)"
    )
    with httpx.Client(base_url=url, headers={"Content-Type": "application/json"}, timeout=60) as client:
        for number in range(n):
            item_id = f"inserted-{name}-{number}"
            body = new_item(item_id, rng)
            started = time.perf_counter()
            answer = client.post("/items", content=body)
            times.total.append(1000 * (time.perf_counter() - started))
            answer.raise_for_status()
            times.journal.append(sum(map(float, _JOURNAL.findall(answer.headers["Server-Timing"]))))
            started = time.perf_counter()
            connection.execute("INSERT INTO journal (entry) VALUES (?)", (body,))
            times.reference.append(1000 * (time.perf_counter() - started))
            client.get(f"/items/{item_id}/similar", params={"k": 1}).raise_for_status()
    connection.close()
    return times


def _asking(directory: Path, url: str, per_second: int, args: argparse.Namespace) -> AbstractContextManager[None]:
    """Asks for lists of users by Zipf's law meanwhile, at random times."""

    def ask(over: threading.Event) -> None:
        script = script_of(directory, list(SCRIPTS)[1])
        while not over.is_set():
            load(script, url, seconds=1, first=0, users=args.users, mean_ms=1000 * CONNECTIONS / per_second)

    return meanwhile(ask if per_second else None)


def _show(table: Table, name: str, times: Times) -> None:
    rows = (
        ("POST /items", times.total),
        ("the journal", times.journal),
        ("beyond", times.beyond),
        ("SQLite alone", times.reference),
    )
    for what, numbers in rows:
        points = [*np.percentile(numbers, [50, 90, 99]), max(numbers)]
        table.add_row(name, what, *(f"{point:.2f}" for point in points))
        name = ""


if __name__ == "__main__":
    sys.exit(main())
