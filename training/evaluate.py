"""``python -m training evaluate``: models side by side, under one protocol after the other."""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from training.contestants import contestants, known_names
from training.dataset import Dataset, read_dataset
from training.errors import ConfigError
from training.flags import add_config_arguments, given_options
from training.interactions import SPLIT_NAMES
from training.plots import recall_vs_missing
from training.protocols import PROTOCOLS, Pattern, base_codes, check_targets, rate_pattern, read_pattern
from training.results import Results, as_json, collect
from training.results_page import markdown
from training.run_store import RunStore
from training.runs import Run, fingerprint, plan
from training.sweep import carry_out
from training.sweep_display import sweep_display
from training.whole_files import write_text

_INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended
_SEEDS = 2**63  # below which they are, as TrainConfig's

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; those of the model and the schedule hold for every preset."""
    usual = {name: ",".join(f"{rate:g}" for rate in protocol.rates) for name, protocol in PROTOCOLS.items()}
    parser.add_argument("--data", type=Path, required=True, help="dataset directory (docs/dataset-format.md)")
    parser.add_argument(
        "--report", type=Path, required=True, help="directory of the runs, tables and pictures of one data set"
    )
    parser.add_argument(
        "--presets",
        default=",".join(known_names()),
        help="models to compare: presets and baselines (default: %(default)s)",
    )
    parser.add_argument("--protocol", default="static", help=f"some of {','.join(PROTOCOLS)} (default: %(default)s)")
    parser.add_argument(
        "--rates",
        help="missing rates; default: " + "; ".join(f"{name} {rates}" for name, rates in usual.items() if rates),
    )
    parser.add_argument(
        "--masks",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.tsv",
        help="published masks (item, missing = t, v, a, tv, ta, va or all) for "
        + ", ".join(name for name, protocol in PROTOCOLS.items() if protocol.takes_masks),
    )
    parser.add_argument(
        "--seeds",
        default="3",
        metavar="N|A-B",
        help="seeds 0 … N-1, or A … B, for sweeps that are spread over processes or days (default: %(default)s)",
    )
    group = parser.add_argument_group("model and schedule, in place of each preset's own defaults")
    add_config_arguments(group, without=("preset", "seed"))


def run(args: argparse.Namespace) -> int:
    """Carries out what is not kept yet and writes the tables; returns 1 where a run failed, 130 after Ctrl-C.

    Raises:
        TrainingError: defective data or masks, or a flag that cannot be meant.
        OSError: the report cannot be written.
    """
    console = Console()
    models = contestants(_split("presets", args.presets, str), given_options(args))
    names = _split("protocol", args.protocol, str)
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise ConfigError("protocol", f"some of {', '.join(PROTOCOLS)}", unknown[0])
    dataset = read_dataset(args.data)
    for name in names:
        check_targets(dataset, PROTOCOLS[name], args.data)
    runs = plan(models, _patterns(args, names, dataset), _seeds(args.seeds))
    sha256 = fingerprint(args.data)
    store = RunStore(args.report / "runs")
    args.report.mkdir(parents=True, exist_ok=True)
    failures, interrupted = _sweep(console, runs, store, dataset, sha256)
    results = collect(store.records(), store.load, args.data.resolve().name, _facts(dataset), sha256)
    _write(console, args.report, results)
    if interrupted:
        done = sum(store.done(each, sha256) for each in runs)
        _say(console, f"interrupted: {done} of {len(runs)} runs are kept; the same command goes on from there")
        return _INTERRUPTED
    if failures:
        _say(console, f"{len(failures)} of {len(runs)} runs failed; the same command tries them again")
    return 1 if failures else 0


def _sweep(
    console: Console, runs: Sequence[Run], store: RunStore, dataset: Dataset, sha256: str
) -> tuple[list[Run], bool]:
    """Runs that failed, and whether Ctrl-C was pressed."""
    kept = {record["key"]: record for record in store.records()}
    done = {run.key: kept[run.key] for run in runs if store.done(run, sha256)}
    try:
        with sweep_display(console, runs, done) as display:
            return carry_out(runs, store, dataset, sha256, display), False
    except KeyboardInterrupt:
        return [], True


def _patterns(args: argparse.Namespace, names: Sequence[str], dataset: Dataset) -> dict[str, list[Pattern]]:
    """The patterns of each protocol: the rates asked for or its own, and the masks where it takes them."""
    rates = None if args.rates is None else _split("rates", args.rates, float)
    masks = [read_pattern(path, dataset) for path in args.masks]
    if numbers := [mask.name for mask in masks if re.fullmatch(r"[0-9.e-]+", mask.name)]:
        raise ConfigError("masks", "files whose names are no numbers, as rates are", numbers[0])
    if len({mask.name for mask in masks}) < len(masks):
        raise ConfigError("masks", "files of different names", [mask.name for mask in masks])
    if "static-dgmrec" in names and not masks:
        raise ConfigError("masks", "at least one file for the protocol static-dgmrec", "none")
    if masks and not any(PROTOCOLS[name].takes_masks for name in names):
        raise ConfigError("protocol", "one that takes --masks, such as static-dgmrec", ", ".join(names))
    chosen: dict[str, list[Pattern]] = {}
    for name in names:
        protocol = PROTOCOLS[name]
        wanted = protocol.rates if rates is None or not protocol.rates else rates
        drawn = [rate_pattern(dataset, rate) for rate in wanted]
        chosen[name] = drawn + (masks if protocol.takes_masks else [])
    return chosen


def _seeds(text: str) -> range:
    """The seeds of ``N`` or ``A-B``.

    Raises:
        ConfigError: neither of both, no seed, or one that is too large.
    """
    if not (found := re.fullmatch(r"(?:(\d+)-)?(\d+)", text.strip())):
        raise ConfigError("seeds", "a number of seeds, or the first and the last as 1-2", text)
    first, last = found.groups()
    longest = max(len(first or ""), len(last))  # looked at first, as Python reads no number of thousands of digits
    if longest > len(str(_SEEDS)) or int(last) >= _SEEDS:
        raise ConfigError("seeds", "numbers below 2^63", text)
    seeds = range(int(last)) if first is None else range(int(first), int(last) + 1)
    if not seeds:
        raise ConfigError("seeds", "at least one", text)
    return seeds


def _split(flag: str, text: str, of: Callable[[str], T]) -> list[T]:
    """The values of a flag that are separated by commas.

    Raises:
        ConfigError: there is none, or one is empty or no number where numbers are meant.
    """
    try:
        values = [of(value.strip()) for value in text.split(",")]
    except ValueError as exc:
        raise ConfigError(flag, "numbers separated by commas", text) from exc
    if "" in values:
        raise ConfigError(flag, "at least one value, separated by commas", text)
    return values


def _facts(dataset: Dataset) -> dict[str, int]:
    codes = base_codes(dataset)
    parts = {f"{name} interactions": int((codes == code).sum()) for code, name in enumerate(SPLIT_NAMES)}
    return {"users": dataset.n_users, "items": dataset.n_items, **parts}


def _write(console: Console, directory: Path, results: Results) -> None:
    if not results.tables:
        return
    write_text(directory / "results.json", json.dumps(as_json(results), indent=2) + "\n")
    write_text(directory / "results.md", markdown(results))
    pictures = recall_vs_missing(results.tables, results.data, directory / "recall_vs_missing")
    _say(console, "written: " + ", ".join(str(path) for path in [directory / "results.md", *pictures]))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
