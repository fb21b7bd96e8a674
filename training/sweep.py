"""A sweep: runs that are kept one by one, so that an interrupted sweep goes on where it stopped."""

import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.contestants import Fitted
from training.dataset import Dataset
from training.errors import ConfigError, TrainingError
from training.loop import Progress
from training.protocols import Withheld, judge, prepare
from training.run_store import RunStore
from training.runs import Run


class Display(typing.Protocol):
    """Is told how a sweep goes."""

    def begin(self, run: Run) -> None:
        """A training begins, whose first run this is."""
        ...

    def epoch(self, progress: Progress) -> None:
        """An epoch is over."""
        ...

    def kept(self, run: Run, record: Mapping[str, Any]) -> None:
        """A run is finished and kept."""
        ...

    def failed(self, run: Run, error: TrainingError) -> None:
        """A run is given up."""
        ...


def carry_out(runs: Iterable[Run], store: RunStore, dataset: Dataset, data_sha256: str, display: Display) -> list[Run]:
    """Trains and judges what is not kept yet; returns the runs that failed, which does not stop the others.

    Raises:
        KeyboardInterrupt: Ctrl-C; finished runs are kept.
        ConfigError: a setting cannot be meant on this machine.
        OSError: a run cannot be kept.
    """
    groups: dict[tuple[str, Withheld, str, int | None], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.training, []).append(run)
    failures: list[Run] = []
    for group in groups.values():
        if pending := [run for run in group if not store.done(run, data_sha256)]:
            failures += _carry_out_together(pending, store, dataset, data_sha256, display)
    return failures


def _carry_out_together(
    runs: Sequence[Run], store: RunStore, dataset: Dataset, data_sha256: str, display: Display
) -> list[Run]:
    """Trains once for runs that share a training, and judges each; returns those that failed."""
    display.begin(runs[0])
    try:
        fitted = _fit(runs[0], dataset, display)
        facts = _facts(fitted)  # once for all runs, as it computes all tables
    except ConfigError:
        raise
    except TrainingError as exc:
        for run in runs:
            display.failed(run, exc)
        return list(runs)
    failures: list[Run] = []
    for run in runs:
        try:
            judged = judge(fitted.recommender, dataset, run.protocol, run.pattern)
        except TrainingError as exc:
            failures.append(run)
            display.failed(run, exc)
        else:
            display.kept(run, store.save(run, data_sha256, facts, judged))
    return failures


def _fit(run: Run, dataset: Dataset, display: Display) -> Fitted:
    prepared = prepare(dataset, run.protocol, run.pattern)
    return run.contestant.fit(prepared, run.seed or 0, display.epoch)


def _facts(fitted: Fitted) -> dict[str, Any]:
    return {
        "seconds": round(fitted.seconds, 3),
        "best_epoch": fitted.best_epoch,
        "ended": fitted.ended,
        "validation_recall@20": fitted.validation,
        "d": int(fitted.recommender.embeddings().items.shape[1]),
        "encoder_parameters": fitted.encoder_parameters,
        "chosen": dict(fitted.chosen),
    }
