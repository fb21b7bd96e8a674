"""One measurement, in a process of its own: trains a preset on a dataset directory and prints what it took as JSON.

    python -m benchmarks.measurement --data DIR --preset milk --threads 1

Started by ``benchmarks.training``, which sets the threads of the libraries that read them when they are loaded.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from training.dataset import read_dataset
from training.errors import TrainingError
from training.loop import Outcome, train
from training.models import PRESETS, configure
from training.prepared import prepare_data

REFERENCE = 2048  # the side of the matrices
_REPETITIONS = 5


def measure(data: Path, preset: str, epochs: int | None, evaluate_every: int | None) -> dict[str, Any]:
    """Reads, builds, trains, and only then measures the reference, which is to add nothing to the peak.

    Args:
        data: dataset directory.
        preset: key of ``PRESETS``.
        epochs: at most; None = the preset's own number.
        evaluate_every: epochs between validations; None = the preset's own number.

    Raises:
        TrainingError: the data or a setting is refused, or training diverged.
    """
    given = {"epochs": epochs, "evaluate_every": evaluate_every}
    config = configure(preset, device="cpu", **{name: value for name, value in given.items() if value is not None})
    started = time.monotonic()
    prepared = prepare_data(read_dataset(data), config.seed)
    read = time.monotonic()
    before = peak_mib()
    model = PRESETS[preset](prepared.data, config, torch.device("cpu"))
    built = time.monotonic()
    outcome = train(model, prepared.split, config, lambda _: None)
    peak = peak_mib()
    return {
        "preset": preset,
        "interactions": int(prepared.split.train.nnz),
        "users": prepared.dataset.n_users,
        "items": prepared.dataset.n_items,
        "seconds_to_read": read - started,
        "seconds_to_build": built - read,
        **_course(outcome, config.evaluate_every),
        "seconds_to_best": built - read + outcome.history[outcome.best_epoch - 1].seconds,
        "mib_before_training": before,
        "mib_peak": peak,
        "reference_seconds": reference_seconds(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def reference_seconds() -> float:
    """The median time of a product of two dense 2048 × 2048 float32 matrices by torch; the first one is not counted."""
    a, b = torch.rand(2, REFERENCE, REFERENCE)
    seconds = []
    for _ in range(_REPETITIONS + 1):
        started = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def peak_mib() -> float:
    """The most memory that was resident so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _course(outcome: Outcome, evaluate_every: int) -> dict[str, Any]:
    """Medians over epochs, of learning alone and of validating; the first one, a warm-up, is left out if it can."""
    ends = [progress.seconds for progress in outcome.history]
    taken = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    validated = [n % evaluate_every == 0 or n == outcome.history[-1].epochs for n in range(1, len(taken) + 1)]
    alone = [seconds for seconds, extra in zip(taken, validated, strict=True) if not extra]
    per_epoch = statistics.median(alone[1:] or alone or taken)
    both = [seconds for seconds, extra in zip(taken, validated, strict=True) if extra]
    return {
        "epochs": len(taken),
        "ended": outcome.ended,
        "seconds_per_epoch": per_epoch,
        "seconds_per_validation": statistics.median(both) - per_epoch if alone and both else None,
        "best_epoch": outcome.best_epoch,
        "best_recall": outcome.best_recall,
    }


def main() -> int:
    """Prints one line of JSON; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measurement", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--preset", required=True, choices=sorted(PRESETS))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--evaluate-every", type=int)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        print(json.dumps(measure(args.data, args.preset, args.epochs, args.evaluate_every)))
    except TrainingError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
