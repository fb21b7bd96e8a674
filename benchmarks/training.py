"""What training takes: seconds an epoch, memory, seconds to the best epoch, and how they grow with the interactions.

    python -m benchmarks.training --data DIR
    python -m benchmarks.training --sizes 1e5,1e6 --presets i3mrec,milk --json FILE

Every measurement is a process of its own, and every time stands beside a reference measured in that process: machines
differ, and one machine from hour to hour.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.processes import with_threads
from benchmarks.report import PUBLISHED, REFERENCE_NAME, show
from training.models import DEFAULTS

_SIZES = "1e5,1e6,1e7"
_GROWTH_EPOCHS = 4  # one to warm up, two to measure, one with a validation
_LIMIT = 3600.0

progress = Console(stderr=True, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and shows; returns the exit status (0 done, 1 something could not be measured, 2 misuse)."""
    args = _arguments(argv)
    measurements: list[dict[str, Any]] = []
    try:
        for measurement in _measure_all(args):
            measurements.append(measurement)
            progress.print(f"  {_outcome(measurement)}")
    except KeyboardInterrupt:
        progress.print("interrupted; what is measured so far:")
    show(Console(), measurements)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(_record(args, measurements), indent=2) + "\n", encoding="utf-8")
    return int(any("failed" in measurement for measurement in measurements))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="dataset directory; presets train to their own end")
    parser.add_argument(
        "--sizes",
        type=_numbers,
        help=f"numbers of synthetic interactions, ascending; default: none with --data, else {_SIZES}",
    )
    parser.add_argument("--presets", type=_names, default=sorted(DEFAULTS), help="default: all")
    parser.add_argument(
        "--epochs",
        type=int,
        help=f"at most; default: the preset's own schedule with --data, {_GROWTH_EPOCHS} for synthetic interactions",
    )
    parser.add_argument("--threads", type=int, default=1, help="default 1")
    parser.add_argument(
        "--limit", type=float, default=_LIMIT, help="seconds a measurement may take; default %(default)s"
    )
    parser.add_argument("--json", type=Path, help="write everything to this file")
    args = parser.parse_args(argv)
    if unknown := set(args.presets) - set(DEFAULTS):
        parser.error(f"--presets: expected some of {', '.join(sorted(DEFAULTS))}, found {', '.join(sorted(unknown))}")
    if args.epochs is not None and args.epochs < 1:
        parser.error(f"--epochs: expected at least 1, found {args.epochs}")
    if args.sizes is None:
        args.sizes = [] if args.data else _numbers(_SIZES)
    return args


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[int]:
    return sorted(int(float(number)) for number in _names(text))


def _measure_all(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One measurement per preset and data, as they are done; synthetic directories live as long as they are needed."""
    if args.data:
        for preset in args.presets:
            yield _measure(args, args.data, str(args.data), preset, args.epochs)
    for size in args.sizes:
        with tempfile.TemporaryDirectory(prefix="i3rec-bench-") as directory:
            progress.print(f"making {size:,} interactions")
            options = ["--interactions", str(size), "--out", directory]
            subprocess.run([sys.executable, "-m", "benchmarks.catalogue", *options], check=True)  # noqa: S603 - ours
            for preset in args.presets:
                epochs = args.epochs or _GROWTH_EPOCHS
                name = f"synthetic {size:,}"
                yield {**_measure(args, Path(directory), name, preset, epochs, epochs), "size": size}


def _measure(
    args: argparse.Namespace, data: Path, name: str, preset: str, epochs: int | None, evaluate_every: int | None = None
) -> dict[str, Any]:
    """What a process of its own says; ``failed`` with the reason where it says nothing.

    A process begins with its parent's peak as its own (Linux keeps it over fork and exec). So this one loads no data:
    what it imports, its children import too.
    """
    progress.print(f"measuring {preset} on {name}")
    options = ["--data", str(data), "--preset", preset, "--threads", str(args.threads)]
    for flag, value in (("--epochs", epochs), ("--evaluate-every", evaluate_every)):
        options += [flag, str(value)] if value is not None else []
    command = [sys.executable, "-m", "benchmarks.measurement", *options]
    facts = {"data": name, "preset": preset}
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, env=with_threads(args.threads), check=False, capture_output=True, text=True, timeout=args.limit
        )
    except subprocess.TimeoutExpired:
        return {**facts, "failed": f"took more than {args.limit:.0f} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        killed = f"killed by signal {-done.returncode}, as when memory runs out"
        return {**facts, "failed": killed if done.returncode < 0 else lines[-1] if lines else "no reason given"}
    return {**facts, **json.loads(done.stdout)}


def _outcome(measurement: dict[str, Any]) -> str:
    if "failed" in measurement:
        return f"failed: {measurement['failed']}"
    return f"{measurement['seconds_per_epoch']:.3g} s/epoch, {measurement['mib_peak']:.0f} MiB"


def _record(args: argparse.Namespace, measurements: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": args.threads,
        "reference": REFERENCE_NAME,
        "published_seconds_per_epoch": dict(PUBLISHED),
        "measurements": measurements,
    }


if __name__ == "__main__":
    raise SystemExit(main())
