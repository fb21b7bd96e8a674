"""How long a search takes, and what it finds, beside FAISS, numpy and others on the same vectors in the same run.

    python -m benchmarks.index
    python -m benchmarks.index --items 1e4,1e5,1e6 --batch 1,32,256 --exclude 0,2000 --filter 0.1,1 --plot FILE
    python -m benchmarks.index --churn

Every set of vectors is measured in a process of its own, in which engines take turns. What exact engines find is
compared with float64; a wrong answer is shown and makes the exit status 1.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.processes import with_threads
from benchmarks.search_plot import draw
from benchmarks.search_report import show, show_churn, wrong_answers

progress = Console(stderr=True, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and shows; returns the exit status (0 done, 1 something was wrong or could not be measured)."""
    args = _arguments(argv)
    measurements: list[dict[str, Any]] = []
    try:
        for measurement in _measure_all(args):
            measurements.append(measurement)
            _write(args, measurements)
    except KeyboardInterrupt:
        progress.print("interrupted; what is measured so far:")
    console = Console()
    if args.churn:
        show_churn(console, measurements)
    else:
        show(console, measurements)
    if args.plot and not args.churn:
        draw(measurements, args.plot)
    return int(any("failed" in measurement for measurement in measurements) or bool(wrong_answers(measurements)))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=_whole, default=[10_000, 100_000], help="default 1e4,1e5")
    parser.add_argument("--d", type=_whole, default=[64], help="numbers in a vector; default 64")
    parser.add_argument("--k", type=_whole, default=[20], help="items in a list; default 20")
    parser.add_argument("--batch", type=_whole, default=[1, 32], help="queries at once; default 1,32")
    parser.add_argument("--exclude", type=_whole, default=[0, 2000], help="items a query may not find; default 0,2000")
    parser.add_argument("--filter", type=_shares, default=[0.1, 1.0], help="share it may find; default 0.1,1")
    parser.add_argument("--threads", type=int, default=1, help="inside one search; default 1")
    parser.add_argument("--seconds", type=float, default=4.0, help="a case takes about so long; default %(default)s")
    parser.add_argument(
        "--graphs-up-to",
        type=lambda text: int(float(text)),
        default=200_000,
        help="items of which graphs (HNSW) are made, which takes minutes for a million; default %(default)s",
    )
    parser.add_argument(
        "--churn", action="store_true", help="measure changes and searches meanwhile, in place of cases"
    )
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--plot", type=Path, help="draw µs per query against items into this file")
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error(f"--threads: expected at least 1, found {args.threads}")
    return args


def _whole(text: str) -> list[int]:
    """Whole numbers, ascending; 1e6 is one."""
    numbers = sorted(int(float(number)) for number in text.split(",") if number)
    if not numbers or numbers[0] < 0:
        raise argparse.ArgumentTypeError(f"expected numbers from 0, found {text!r}")
    return numbers


def _shares(text: str) -> list[float]:
    shares = sorted(float(number) for number in text.split(",") if number)
    if not all(0 < share <= 1 for share in shares):
        raise argparse.ArgumentTypeError(f"expected shares above 0 and up to 1, found {text!r}")
    return shares


def _measure_all(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for d in args.d:
        for items in args.items:
            progress.print(f"measuring {items:,} items of {d} numbers")
            yield _measure(args, items, d)


def _measure(args: argparse.Namespace, items: int, d: int) -> dict[str, Any]:
    """What a process of its own says; ``failed`` where it says nothing."""
    options = ["--items", items, "--d", d, "--k", args.k[0], "--threads", args.threads, "--seconds", args.seconds]
    module = "benchmarks.search_churn" if args.churn else "benchmarks.search_cases"
    if not args.churn:
        options += ["--k", *args.k, "--batch", *args.batch, "--exclude", *args.exclude, "--filter", *args.filter]
        options += ["--graphs-up-to", args.graphs_up_to]
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", module, *map(str, options)],
        env=with_threads(args.threads),
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        return {"items": items, "d": d, "failed": f"exit status {done.returncode}; what it said is above"}
    measurement: dict[str, Any] = json.loads(done.stdout)
    return measurement


def _write(args: argparse.Namespace, measurements: list[dict[str, Any]]) -> None:
    """After each measurement, so that the next one's failure loses nothing."""
    if args.json is None:
        return
    record = {
        "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": args.threads,
        "measurements": measurements,
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
