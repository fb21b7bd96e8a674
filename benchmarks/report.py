"""What was measured, as tables."""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

REFERENCE_NAME = "matmul 2048³, float32, torch, same threads, median of 5"

# Seconds an epoch on TikTok, one core: earlier measurements of the authors' code, not made by this benchmark. Their
# machine is not recorded, so they say who is faster by how many times, not by how many seconds.
PUBLISHED: Mapping[str, float] = {
    "published I³-MRec code, as shipped": 31.4,
    "published I³-MRec code, restructured": 6.9,
    "DGMRec": 18.9,
    "FREEDOM": 3.3,
    "MILK": 0.8,
    "LightGCN": 0.8,
}
PUBLISHED_INTERACTIONS = 59_541  # training interactions of that TikTok

_WIDTH = 150
_RIGHT = (
    "interactions",
    "s to build",
    "s/epoch",
    "× ref.",
    "s/validation",
    "s to best",
    "× ref.",
    "best epoch",
    "MiB before",
    "MiB peak",
    "growth",
)


def show(console: Console, measurements: Sequence[Mapping[str, Any]]) -> None:
    """Prints all measurements, how they grow, the reference, and the published figures."""
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    table = Table(title="Training")
    table.add_column("data")
    table.add_column("preset")
    for name in _RIGHT:
        table.add_column(name, justify="right")
    for row in measurements:
        earlier = [other for other in measurements if _is_smaller(other, row)]
        table.add_row(*_cells(row, earlier[-1] if earlier else None))
    console.print(table)
    references = [row["reference_seconds"] for row in measurements if "failed" not in row]
    if references:
        span = f"{min(references):.3f} to {max(references):.3f}, median {median(references):.3f}"
        console.print(f"ref.: {REFERENCE_NAME}: {span} s", highlight=False)
    grown = "s to build, s/epoch and MiB peak grew with since the size before"
    console.print(f"growth: the power of the interactions that {grown}")
    _show_published(console, measurements)


def growth(before: float, after: float, smaller: float, larger: float) -> float:
    """The power p with ``after / before = (larger / smaller)^p``."""
    return math.log(after / before) / math.log(larger / smaller)


def _is_smaller(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    same = other["preset"] == row["preset"] and "failed" not in other and "failed" not in row
    return same and other.get("size", math.inf) < row.get("size", 0)


def _cells(row: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> list[str]:
    if "failed" in row:
        return [row["data"], row["preset"], f"failed: {row['failed']}"]
    reference, synthetic = row["reference_seconds"], "size" in row
    validation = row["seconds_per_validation"]
    grown = "–"
    if earlier:
        sizes = earlier["interactions"], row["interactions"]
        measures = ("seconds_to_build", "seconds_per_epoch", "mib_peak")
        powers = [growth(earlier[name], row[name], *sizes) for name in measures]
        grown = ", ".join(f"{power:.2f}" for power in powers)
    return [
        row["data"],
        row["preset"],
        f"{row['interactions']:,}",
        f"{row['seconds_to_build']:.3g}",
        f"{row['seconds_per_epoch']:.3g}",
        f"{row['seconds_per_epoch'] / reference:.3g}",
        "–" if validation is None else f"{validation:.3g}",
        # A few epochs of a synthetic catalogue have no best one that means anything.
        "–" if synthetic else f"{row['seconds_to_best']:.3g}",
        "–" if synthetic else f"{row['seconds_to_best'] / reference:.3g}",
        "–" if synthetic else f"{row['best_epoch']} of {row['epochs']}",
        f"{row['mib_before_training']:.0f}",
        f"{row['mib_peak']:.0f}",
        grown,
    ]


def _show_published(console: Console, measurements: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="Published: TikTok, 59,541 training interactions, one core, another machine")
    table.add_column("code")
    table.add_column("s/epoch", justify="right")
    ours = [row for row in measurements if row.get("interactions") == PUBLISHED_INTERACTIONS]
    for row in ours:
        table.add_column(f"{row['preset']} here is faster by", justify="right")
    for name, seconds in PUBLISHED.items():
        table.add_row(name, f"{seconds}", *(f"{seconds / row['seconds_per_epoch']:.2g} ×" for row in ours))
    console.print(table)
