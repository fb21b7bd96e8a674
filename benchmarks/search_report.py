"""What searches took, as tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.search_engines import FLOOR, REFERENCE

_WIDTH = 150


def show(console: Console, measurements: Sequence[Mapping[str, Any]]) -> None:
    """Prints a table of the cases for each set of vectors, and what engines take to be made."""
    _widen(console)
    for measurement in measurements:
        name = _name(measurement)
        if "failed" in measurement:
            console.print(f"{name}: failed: {measurement['failed']}")
            continue
        console.print(_of_cases(name, measurement["cases"]))
        console.print(_of_engines(name, measurement["engines"]))
    notes = (
        f"× ref.: to {REFERENCE} in the same case, median of the rounds; × floor: to {FLOOR}, the vectors from memory",
        "found: ok = as float64 has it (ours: ids in order, ties by id; others: to the rounding of float32)",
        "churned: 5 % of the items in the delta, and 5 % gone; by row: excluded by number, as histories are",
    )
    for note in notes:
        console.print(note, highlight=False)
    for wrong in wrong_answers(measurements):
        console.print(f"[bold red]wrong[/]: {wrong}", highlight=False)


def show_churn(console: Console, measurements: Sequence[Mapping[str, Any]]) -> None:
    """Prints what changes took."""
    _widen(console)
    table = Table(title="Changes, one caller, and one searcher meanwhile")
    table.add_column("vectors")
    table.add_column("engine")
    columns = ("upserts/s", "in 256s", "removals/s", "found after ms", "p99", "search µs", "p99", "meanwhile µs", "p99")
    for column in columns:
        table.add_column(column, justify="right")
    for measurement in measurements:
        if "failed" in measurement:
            table.add_row(_name(measurement), f"failed: {measurement['failed']}")
        for row in measurement.get("churn", ()):
            rates = [f"{row[key]:,.0f}" for key in ("upserts_per_s", "upserts_per_s_in_256s", "removals_per_s")]
            after = [f"{row[key]:.2f}" for key in ("ms_to_found_median", "ms_to_found_p99")]
            searches = [
                f"{row[f'us_{when}_{what}']:,.0f}" for when in ("rest", "meanwhile") for what in ("median", "p99")
            ]
            table.add_row(_name(measurement), row["engine"], *rates, *after, *searches)
    console.print(table)


def wrong_answers(measurements: Sequence[Mapping[str, Any]]) -> list[str]:
    """What contradicted a promise, a line for each."""
    return [
        f"{_name(measurement)}, {case_name(case)}, {row['engine']}: {row['wrong']}"
        for measurement in measurements
        for case in measurement.get("cases", ())
        for row in case["measured"]
        if row["wrong"]
    ]


def case_name(case: Mapping[str, Any]) -> str:
    """What is asked for, in words."""
    words = f"k = {case['k']}, batch of {case['batch']}"
    if case["exclude"]:
        words += f", {case['exclude']} excluded"
    return words + (f", {case['share']:.0%} allowed" if case["share"] < 1 else "")


def _of_cases(name: str, cases: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=f"Searches: {name}")
    table.add_column("case")
    table.add_column("engine")
    for column in ("µs/query", "p99", "× ref.", "× floor", "recall", "found"):
        table.add_column(column, justify="right")
    for case in cases:
        title = case_name(case)
        for row in case["measured"]:
            table.add_row(title, *_cells(row), style="bold" if row["engine"].startswith("ours") else None)
            title = ""
        table.add_section()
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    exact = row["recall"] is not None and row["recall"] == 1
    return [
        row["engine"],
        f"{row['us_median']:,.0f}",
        f"{row['us_p99']:,.0f}",
        f"{row['to_reference']:.2f}",
        "–" if row["to_floor"] is None else f"{row['to_floor']:.2f}",
        "–" if row["recall"] is None else f"{row['recall']:.3f}",
        "[bold red]WRONG[/]" if row["wrong"] else "ok" if exact else "–",
    ]


def _of_engines(name: str, engines: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title=f"Engines: {name}")
    table.add_column("engine")
    table.add_column("MiB", justify="right")
    table.add_column("s to build", justify="right")
    for engine, row in engines.items():
        table.add_row(engine, "–" if row["mib"] is None else f"{row['mib']:,.0f}", f"{row['seconds_to_build']:.2f}")
    return table


def _name(measurement: Mapping[str, Any]) -> str:
    return f"{measurement['items']:,} × {measurement['d']}"


def _widen(console: Console) -> None:
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
