"""A modest search for a better configuration, judged by validation recall@20 (Optuna's TPE)."""

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from typing import Any

import optuna

from training.config import TrainConfig
from training.errors import ConfigError, Diverged, NotFinite, Untrained
from training.fitting import device_of
from training.loop import Progress, train
from training.models import PRESETS, REHEARSED
from training.prepared import Prepared
from training.selection import selected

_SOONEST = 4  # trials before one that lags behind may be given up


@dataclass(frozen=True, slots=True)
class Range:
    """Where a number is looked for.

    Attributes:
        low, high: the bounds, both included.
        log: whether ratios matter rather than differences.
    """

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """What is known after a trial.

    Attributes:
        number: from 1.
        recall: its validation recall@20; None where it was given up.
        best: the best so far, 0 before there is one.
    """

    number: int
    recall: float | None
    best: float


_STEP_SIZE = {"lr": Range(3e-4, 1e-2)}
SPACES: Mapping[str, Mapping[str, Range]] = {
    "i3mrec": {
        "unobserved": Range(20, 250),
        "ridge": Range(0.01, 0.12),
        "popularity_exponent": Range(0, 0.7, log=False),
        "content_weight": Range(0.2, 1, log=False),
        "content_ridge": Range(0.1, 2),
    },
    "i3mrec-paper": {**_STEP_SIZE, "settings.variance": Range(1, 300), "settings.norm": Range(1e-5, 1e-1)},
    "milk": {**_STEP_SIZE, "settings.variance": Range(0.1, 100), "settings.alignment": Range(1e-3, 1)},
}
"""Preset → field of ``TrainConfig``, or ``settings.`` and a setting's name → where to look; others: the step size."""


_NOTHING = "no trial came to its end: nothing was trained or published"


def tune(
    prepared: Prepared, config: TrainConfig, trials: int, report: Callable[[Trial], None] = lambda _: None
) -> TrainConfig:
    """The best configuration of so many; the one given is the first, so that none is returned that validates worse.

    A trial of a preset whose known items are solved for before its first epoch is one epoch long, as that is all that
    validation depends on. Others train in full, unless they lag behind the median of earlier ones. Ctrl-C ends the
    search.

    Args:
        prepared: must have a validation part.
        config: names the preset; what is not searched stays as it is.
        trials: at least 1.
        report: called after each trial.

    Raises:
        ConfigError: no trial, or no validation part.
        Untrained: interrupted before the end of the first trial.
    """
    if trials < 1:
        raise ConfigError("tune", "at least 1", trials)
    if not prepared.split.val.nnz:
        raise ConfigError("tune", "data with validation interactions", "none")
    try:
        config = selected(prepared, config)
    except KeyboardInterrupt as exc:
        raise Untrained(_NOTHING) from exc
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = SPACES.get(config.preset, _STEP_SIZE)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_SOONEST)
    sampler = optuna.samplers.TPESampler(seed=config.seed % 2**32)  # it knows no larger ones
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(*astuple(each)) for name, each in space.items()
    }
    for number in range(1, trials + 1):
        trial = study.ask(distributions if number > 1 else None)  # the first is what was given
        try:
            recall = _recall(prepared, _changed(config, trial.params), trial)
        except KeyboardInterrupt:
            break
        given_up = optuna.trial.TrialState.PRUNED if recall is None else None
        study.tell(trial, recall, state=given_up)
        report(Trial(number, recall, _best(study)))
    if not any(trial.state is optuna.trial.TrialState.COMPLETE for trial in study.trials):
        raise Untrained(_NOTHING)
    return _changed(config, study.best_params)


def _recall(prepared: Prepared, config: TrainConfig, trial: optuna.Trial) -> float | None:
    """Validation recall@20 of a configuration; None where it lags behind or is no longer finite.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    if config.preset in REHEARSED:
        config = replace(config, epochs=1, evaluate_every=1)

    def judge(progress: Progress) -> None:
        if (
            progress.recall is not None
            and progress.epoch % config.evaluate_every == 0
            and progress.epoch < config.epochs
        ):
            trial.report(progress.recall, progress.epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    try:
        outcome = train(PRESETS[config.preset](prepared.data, config, device_of(config)), prepared.split, config, judge)
    except (optuna.TrialPruned, Diverged, NotFinite):
        return None
    if outcome.ended == "interrupted":
        raise KeyboardInterrupt
    return outcome.best_recall


def _best(study: optuna.Study) -> float:
    values = [trial.value for trial in study.trials if trial.state is optuna.trial.TrialState.COMPLETE]
    return max((value for value in values if value is not None), default=0.0)


def _changed(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    plain = {name: value for name, value in values.items() if "." not in name}
    settings = {name.partition(".")[2]: value for name, value in values.items() if "." in name}
    return replace(config, **plain, settings={**config.settings, **settings})
