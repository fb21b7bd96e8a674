"""What a preset leaves open in its configuration, chosen by validation before it is trained."""

import numpy as np

from training.config import TrainConfig
from training.evaluation import validated_items, validated_part
from training.fitting import device_of
from training.metrics import RankingResult, ranking_metrics
from training.models import CANDIDATES, PRESETS
from training.prepared import Prepared

_ERRORS = 2.0  # standard errors by which another candidate must be better than the usual one


def selected(prepared: Prepared, config: TrainConfig) -> TrainConfig:
    """The configuration with nothing left open.

    Candidates are judged by validation recall@20 before their first epoch: only presets whose known items are solved
    for in closed form have any. The usual one stays unless the best is better by two standard errors of the paired
    difference, as differences below that are as likely as not to be chance.

    Raises:
        TrainingError: nothing to learn from, or a device that is not there.
    """
    usual, *others = CANDIDATES.get(config.preset, _as_it_is)(config)
    if not others or not prepared.split.val.nnz:
        return usual
    results = [(candidate, _judged(prepared, candidate)) for candidate in (usual, *others)]
    best, result = max(results, key=lambda pair: pair[1].mean()["recall@20"])
    gains = result.per_user("recall@20") - results[0][1].per_user("recall@20")
    if len(gains) < 2:  # noqa: PLR2004 - nothing tells how far one alone is chance
        return usual
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    return best if float(np.mean(gains)) > _ERRORS * error else usual


def _as_it_is(config: TrainConfig) -> list[TrainConfig]:
    return [config]


def _judged(prepared: Prepared, config: TrainConfig) -> RankingResult:
    tables = PRESETS[config.preset](prepared.data, config, device_of(config)).embeddings()
    wanted, judged = validated_part(prepared.split), validated_items(prepared.split)
    return ranking_metrics(tables.users, tables.items, wanted, prepared.split.train, (20,), judged)
