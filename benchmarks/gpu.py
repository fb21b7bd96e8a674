"""How long searches take on an NVIDIA device, beside the time that reading the vectors alone takes there.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --items 1e6 --batch 1,32 --engines gpu-fp16,gpu-cagra --json var/gpu.json

Needs a CUDA device and the extra [gpu]; where either is missing it says which, and the exit status is 2. Every time
stands beside the floor: the bytes that must be read over the bandwidth of a copy in the same run.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cuda_runtime import CudaRuntime
from benchmarks.gpu_cases import Measured, cases, measure_flat, measure_graph
from benchmarks.search_questions import make_vectors
from service.adapters.device_trial import try_flat, try_graph
from service.adapters.gpu_engines import CudaDevice, Device, DeviceUnusable

ENGINES = ("gpu-fp16", "gpu-fp32", "gpu-cagra")
_NO_DEVICE = 2
_WIDTH = 120  # also where what is printed goes into a file

progress = Console(stderr=True, highlight=False, soft_wrap=True)


def main(
    argv: Sequence[str] | None = None,
    open_device: Callable[[], Device] = CudaDevice,
    bandwidth: Callable[[], float] = lambda: CudaRuntime().bytes_per_s(),
) -> int:
    """Measures and shows; returns the exit status (0 done, 1 a device that computes wrongly, 2 no device)."""
    args = _arguments(argv)
    try:
        device = open_device()
    except DeviceUnusable as exc:
        print(f"nothing was measured: {exc}")
        return _NO_DEVICE
    try:
        _try(device, args)
    except DeviceUnusable as exc:
        print(f"the device does not do what it should: {exc}")
        return 1
    bytes_per_s = bandwidth()
    print(f"{args.items:,} × {args.d}; a copy on the device moves {bytes_per_s / 1e9:,.0f} GB/s, both ways counted")
    measured = _measure(args, device, bytes_per_s)
    _show(measured)
    if args.json:
        _write(args, bytes_per_s, measured)
    return int(any(row.engine != "gpu-cagra" and row.recall < 1 for row in measured))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=lambda text: int(float(text)), default=10_000_000, help="default 1e7")
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--batch", type=_whole, default=[1, 256], help="queries at once; default 1,256")
    parser.add_argument("--k", type=_whole, default=[20, 200], help="rows for each; default 20,200")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    parser.add_argument("--recall", type=float, default=0.99, help="wanted of the graph; default %(default)s")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    args = parser.parse_args(argv)
    if unknown := set(args.engines) - set(ENGINES):
        parser.error(f"--engines: expected some of {', '.join(ENGINES)}, found {', '.join(sorted(unknown))}")
    return args


def _whole(text: str) -> list[int]:
    return [int(float(number)) for number in text.split(",")]


def _try(device: Device, args: argparse.Namespace) -> None:
    """The trial that the service makes at its start."""
    for name in args.engines:
        progress.print(f"trying {name}")
        if name == "gpu-cagra":
            try_graph(device, args.d)
        else:
            try_flat(device, args.d, half=name == "gpu-fp16")


def _measure(args: argparse.Namespace, device: Device, bytes_per_s: float) -> list[Measured]:
    rng = np.random.default_rng(0)
    matrix = make_vectors(args.items, args.d, rng)
    asked = cases(args.batch, args.k)
    measured: list[Measured] = []
    for name in args.engines:
        progress.print(f"measuring {name}")
        if name == "gpu-cagra":
            said, rows = measure_graph(matrix, device, asked, args.recall, rng)
            print(said)
        else:
            rows = measure_flat(matrix, device, asked, bytes_per_s, rng, half=name == "gpu-fp16")
        measured += rows
    return measured


def _show(measured: Sequence[Measured]) -> None:
    table = Table(title="medians, of a batch; share of floor: 1 = as quick as reading alone")
    for name in ("engine", "case"):
        table.add_column(name, no_wrap=True)
    for name in ("µs device", "µs engine", "µs floor", "share of floor", "recall"):
        table.add_column(name, justify="right")
    for row in measured:
        numbers = (row.device_us, row.engine_us, row.floor_us)
        shown = ["" if number is None else f"{number:,.0f}" for number in numbers]
        share = "" if row.share_of_floor is None else f"{row.share_of_floor:.2f}"
        table.add_row(row.engine, str(row.case), *shown, share, f"{row.recall:.4f}")
    Console(width=_WIDTH).print(table)


def _write(args: argparse.Namespace, bytes_per_s: float, measured: Sequence[Measured]) -> None:
    record = {
        "system": platform.platform(),
        "python": sys.version,
        "items": args.items,
        "d": args.d,
        "bytes_per_s": bytes_per_s,
        "measured": [asdict(row) for row in measured],
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
