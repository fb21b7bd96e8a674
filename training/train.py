"""``python -m training train``: data set in, published model out."""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from model_store import ModelStore
from training.config import TrainConfig
from training.dataset import read_dataset
from training.errors import ConfigError, Untrained
from training.evaluation import KS, evaluate
from training.featurizers import read_featurizers
from training.fitting import Trained, fit
from training.flags import add_config_arguments, given_options
from training.loop import Outcome
from training.models import configure
from training.prepared import Prepared, prepare_data
from training.progress import display_for
from training.publishing import HISTORIES, natural_history, publish
from training.refit import holds_back, refit
from training.selection import selected
from training.splits import new_item_rows
from training.tuned import Tuned, beside

_TABLE_WIDTH = 140


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags; those of the model and the schedule come from ``TrainConfig``."""
    parser.add_argument("--data", type=Path, required=True, help="dataset directory (docs/dataset-format.md)")
    parser.add_argument("--store", type=Path, help="model store to publish to; without it nothing is published")
    parser.add_argument("--promote", action="store_true", help="let the published version serve")
    parser.add_argument("--report", type=Path, help="write configuration, course and metrics to this JSON file")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="save the run in this file after each validation and, where the file is there already, go on from it; the "
        "file of a run with another configuration or other data is refused. It is removed when training has come to "
        "its end and its results are published and reported; it stays after Ctrl-C (which publishes the best model so "
        "far as ever), an error or a kill, so that the same command goes on; what --tune found lies beside it",
    )
    parser.add_argument(
        "--history",
        choices=["auto", *HISTORIES],
        default="auto",
        help="interactions that the published model, its users and their seen lists are made of: the training part, or "
        "all of them, with which the model is then trained once more, as long as was best without those that judge it; "
        "auto: 'train' where the data prescribes a split (a benchmark), else 'all' (a shop)",
    )
    parser.add_argument(
        "--new-items",
        action="store_true",
        help="hold out all training interactions of 20 %% of the items, and report on these as the new ones "
        "(protocol); a model that is published does not know them either",
    )
    parser.add_argument(
        "--tune",
        type=int,
        metavar="N",
        help="first look for a configuration: the one given and N - 1 others are tried, and the best by validation "
        "recall@20 is trained. Ctrl-C ends the search, not the run",
    )
    add_config_arguments(parser.add_argument_group("model and schedule"))


def run(args: argparse.Namespace) -> int:
    """Trains, evaluates and, where a store is given, publishes.

    Raises:
        TrainingError: defective data, a flag that cannot be meant, nothing to learn from, an unusable checkpoint,
            Ctrl-C before there was a model, an unfaithful export, or a defective featurizer; nothing was published.
        ModelStoreError: the store refused the bundle.
        OSError: the store, the report or the checkpoint cannot be written.
    """
    config = configure(**given_options(args))
    console = Console()
    dataset = read_dataset(args.data)
    _check_outputs(args)
    if args.store:
        read_featurizers(dataset)  # a defective one is refused now, not after the training
    prepared = prepare_data(dataset, config.seed, new_items=args.new_items)
    _introduce(console, prepared)
    if args.checkpoint and args.checkpoint.exists():
        console.print(f"{args.checkpoint}: is there; the run in it goes on", highlight=False, soft_wrap=True)
    if args.tune is not None:
        config = _tuned(console, prepared, config, args)
    trained = _trained(console, prepared, config, args.checkpoint)
    new = new_item_rows(dataset.n_items) if args.new_items else None
    metrics = evaluate(trained.model.embeddings(), prepared.split, new)
    _show_outcome(console, trained.outcome, metrics)
    report = _report(args, trained, metrics)
    if args.store:
        report |= _publish(console, prepared, trained, args, metrics)
    if args.report:
        args.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if args.checkpoint:
        _leave(console, args.checkpoint, trained.outcome)
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuses now what could not be written after the training."""
    if args.promote and not args.store:
        raise ConfigError("promote", "a --store to publish in", "none")
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        if args.report.is_dir():
            raise ConfigError("report", "a file", f"the directory {args.report}")
    if args.store:
        there = next(path for path in (args.store, *args.store.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise ConfigError("store", "a directory that can be written, or made", args.store)


def _trained(console: Console, prepared: Prepared, config: TrainConfig, checkpoint: Path | None) -> Trained:
    """The model, with the configuration in which nothing is left open."""
    try:
        config = selected(prepared, config)
        with display_for(console, config.epochs) as display:
            model, outcome = fit(prepared, config, display, checkpoint)
    except KeyboardInterrupt as exc:
        raise Untrained("interrupted before training: there is no model yet, and nothing was published") from exc
    return Trained(model, config, outcome, prepared.data)


def _tuned(console: Console, prepared: Prepared, config: TrainConfig, args: argparse.Namespace) -> TrainConfig:
    """The best of some configurations: found anew, or by the search that the run in the checkpoint began with."""
    if not args.checkpoint:
        return _tune(console, prepared, config, args.tune)
    kept = Tuned(args.checkpoint, config, prepared, args.tune)
    found = kept.load()
    if found:
        console.print(
            f"{beside(args.checkpoint)}: is there; nothing is searched for again", highlight=False, soft_wrap=True
        )
        return found
    found = _tune(console, prepared, config, args.tune)
    kept.save(found)
    return found


def _tune(console: Console, prepared: Prepared, config: TrainConfig, trials: int) -> TrainConfig:
    """The best of some configurations; says which."""
    # Here, as Optuna takes its time to load and brings half of its optional libraries along.
    from training.tuning import Trial, tune  # noqa: PLC0415

    def say(trial: Trial) -> None:
        recall = "given up" if trial.recall is None else f"{trial.recall:.4f}"
        line = f"trial {trial.number}/{trials}  validation recall@20 {recall} (best {trial.best:.4f})"
        console.print(line, highlight=False, soft_wrap=True)

    found = tune(prepared, config, trials, say)
    mine, its = asdict(config), asdict(found)
    changed = {name: value for name, value in its.items() if mine[name] != value}
    what = ", ".join(f"{name} {value}" for name, value in changed.items()) or "what was given"
    console.print(f"best: {what}", highlight=False, soft_wrap=True)
    return found


def _leave(console: Console, checkpoint: Path, outcome: Outcome) -> None:
    """Removes the checkpoint of a run that is over; one that was interrupted may go on."""
    if outcome.ended != "interrupted":
        checkpoint.unlink(missing_ok=True)
        beside(checkpoint).unlink(missing_ok=True)
    elif checkpoint.exists():
        console.print(f"{checkpoint}: the same command goes on from here", highlight=False, soft_wrap=True)


def _publish(
    console: Console, prepared: Prepared, trained: Trained, args: argparse.Namespace, metrics: dict[str, Any]
) -> dict[str, str]:
    """Publishes the model, or the one that knows more; says as which version, and what it is made of."""
    history = args.history if args.history != "auto" else natural_history(prepared.dataset)
    if history == "all" and not args.new_items:
        trained = _final(console, prepared, trained)
    store = ModelStore(args.store)
    version = publish(store, prepared, trained, history, metrics).model_version
    if args.promote:
        store.promote(version)
    state = "published and promoted" if args.promote else "published"
    console.print(f"{version}: {state} in {args.store}", highlight=False, soft_wrap=True)
    return {"model_version": version, "history": history}


def _final(console: Console, prepared: Prepared, trained: Trained) -> Trained:
    """The model that knows what the other one was judged by; that one, where there is nothing or Ctrl-C was pressed."""
    if trained.outcome.ended == "interrupted" or not holds_back(prepared):
        return trained
    console.print("once more, with the interactions that judged it", highlight=False)
    with display_for(console, trained.outcome.best_epoch) as display:
        final = refit(prepared, trained, display)
    if final is None:
        console.print("interrupted: the model before is published", highlight=False)
    return final or trained


def _introduce(console: Console, prepared: Prepared) -> None:
    dataset, split = prepared.dataset, prepared.split
    present = ", ".join(f"{name} {f.present.mean():.0%}" for name, f in dataset.features.items())
    parts = f"{split.train.nnz} / {split.val.nnz} / {split.test.nnz} interactions (train / validation / test)"
    console.print(
        f"{dataset.n_users} users, {dataset.n_items} items, {parts}; items with {present}",
        highlight=False,
        soft_wrap=True,
    )


def _show_outcome(console: Console, outcome: Outcome, metrics: dict[str, Any]) -> None:
    why = {"epochs": "all epochs done", "patience": "no better for a while", "interrupted": "interrupted"}
    console.print(
        f"{why[outcome.ended]} after {outcome.seconds:.0f} s; "
        f"best: epoch {outcome.best_epoch}, validation recall@20 {outcome.best_recall:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title="test, full ranking", title_justify="left")
    columns = [f"{metric}@{k}" for metric in ("recall", "ndcg", "hr") for k in KS]
    for name in ("interactions on", "users", *columns):
        table.add_column(name, justify="left" if name == "interactions on" else "right", no_wrap=True)
    titles = {"all": "all items", "warm": "warm items", "new": "new items", "new_among_new": "new items, among new"}
    for part, title in titles.items():
        values = metrics[part]
        cells = [f"{values[column]:.4f}" for column in columns] if values else ["–"] * len(columns)
        table.add_row(title, str(values["users"]) if values else "0", *cells)
    if not console.is_terminal:
        console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)


def _report(args: argparse.Namespace, trained: Trained, metrics: dict[str, Any]) -> dict[str, Any]:
    config, outcome = trained.config, trained.outcome
    return {
        "data": str(args.data),
        "protocol": "new-items" if args.new_items else "static",
        "config": asdict(config),
        "outcome": {key: value for key, value in asdict(outcome).items() if key != "history"},
        "epochs": [asdict(progress) for progress in outcome.history],
        "metrics": metrics,
    }
