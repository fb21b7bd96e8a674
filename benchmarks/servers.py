"""The service, and a route that does nothing, each behind uvicorn and behind granian.

    python -m pip install granian       # for this benchmark only
    python -m benchmarks.servers

Every server is one process with one event loop (uvloop); granian reads and writes HTTP on threads of its own, which do
without Python's lock. All are loaded in turns by wrk over 32 connections, as in ``benchmarks.serving``, cold.
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fastapi import FastAPI
from rich.console import Console
from rich.table import Table

from benchmarks.processes import for_shop, free_port, server
from benchmarks.shop import Shop, publish_shop
from benchmarks.wrk import SCRIPTS, Load, load, script_of, write_scripts
from model_store import ModelStore
from service.app import create_app
from service.commands import tune_python
from service.settings import Settings

_UVICORN = ("uvicorn", "--no-access-log", "--log-level", "warning")
_GRANIAN = ("granian", "--interface", "asgi", "--loop", "uvloop", "--log-level", "warning")
_BARE, _SERVICE = ("benchmarks.bare:app",), ("--factory", "benchmarks.servers:make_service")
_OURS = ("--http", "service.wire:HttpProtocol")
SERVERS: Mapping[str, tuple[str, ...]] = {
    "bare route, uvicorn": (*_UVICORN, *_BARE),
    "bare route, granian": (*_GRANIAN, *_BARE),
    "service, uvicorn": (*_UVICORN, *_OURS, *_SERVICE),
    "service, granian": (*_GRANIAN, *_SERVICE),
    "service, granian, 2 threads": (*_GRANIAN, "--runtime-threads", "2", *_SERVICE),
}


def make_service() -> FastAPI:
    """The app, with Python set up as the command does it."""
    tune_python()
    return create_app(Settings())  # type: ignore[call-arg]  # what is required comes from the environment


def main() -> int:
    """Runs the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="default 50000")
    parser.add_argument("--users", type=int, default=200_000, help="default 200000")
    parser.add_argument("--seconds", type=int, default=3, help="of one load; default 3")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    args = parser.parse_args()
    if not importlib.util.find_spec("granian"):
        print("granian is not installed: python -m pip install granian")
        return 1
    with tempfile.TemporaryDirectory(prefix="i3rec-servers-") as name:
        directory = Path(name)
        publish_shop(ModelStore(directory / "store"), "synthetic", Shop(args.items, args.users))
        write_scripts(directory)
        (directory / "body").write_bytes(b"x" * 2300)  # about as long as a list of twenty
        _show(_measure(directory, args))
    return 0


def _measure(directory: Path, args: argparse.Namespace) -> Mapping[tuple[str, str], list[Load]]:
    found: defaultdict[tuple[str, str], list[Load]] = defaultdict(list)
    with ExitStack() as running:
        urls = {name: running.enter_context(_serving(name, directory, args.users)) for name in SERVERS}
        for turn in range(args.rounds):
            for place, label in enumerate(SCRIPTS):
                first = args.users * (turn * len(SCRIPTS) + place) // (args.rounds * len(SCRIPTS))
                for name, url in urls.items():
                    how = {"seconds": args.seconds, "users": args.users, "first": first}
                    found[label, name].append(load(script_of(directory, label), url, **how))
    return found


@contextmanager
def _serving(name: str, directory: Path, users: int) -> Iterator[str]:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    environment = {**for_shop(directory, users, journal=name), "BODY": str(directory / "body")}
    path = "/recommend/user-0" if name.startswith("bare") else "/readyz"
    with server([*SERVERS[name], "--port", port], environment, url, path):
        yield url


def _show(found: Mapping[tuple[str, str], list[Load]]) -> None:
    reference = next(iter(SERVERS))
    table = Table("load", "server", "answers/s", "p99 ms", "× bare, uvicorn")
    for (label, name), loads in found.items():
        ratios = [one.per_second / bare.per_second for one, bare in zip(loads, found[label, reference], strict=True)]
        rate, p99 = (statistics.median(getattr(one, what) for one in loads) for what in ("per_second", "p99_ms"))
        table.add_row(label, name, f"{rate:,.0f}", f"{p99:.1f}", f"{statistics.median(ratios):.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())
