"""Whatever can be compared: presets, which are trained, and baselines, which choose for themselves by validation."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from training import baselines, models
from training.baselines import BASELINES
from training.config import TrainConfig
from training.errors import ConfigError, Untrained
from training.evaluation import validation_recall
from training.fitting import fit
from training.loop import Progress
from training.models import HEEDED, PRESETS, configure
from training.models.contract import Recommender
from training.prepared import Prepared
from training.selection import selected

# Baselines that look at no features: one training serves all missing rates.
_WITHOUT_CONTENT = frozenset({"ease", "ials", "lightgcn", "popularity", "rp3beta", "spectral"})
# Baselines that draw nothing: one run of them counts for all seeds.
_WITHOUT_CHANCE = frozenset({"collective_ease", "content_knn", "ease", "popularity", "rp3beta"})

Report = Callable[[Progress], None]


class Fitted(NamedTuple):
    """A recommender and how it came about.

    Attributes:
        recommender: at its best by validation.
        validation: its validation recall@20.
        best_epoch: the epoch it was seen in; None for baselines.
        ended: why training ended; None for baselines.
        encoder_parameters: numbers in the encoder that places new items; None for baselines.
        seconds: of training.
        chosen: what the configuration had left open.
    """

    recommender: Recommender
    validation: float
    best_epoch: int | None
    ended: str | None
    encoder_parameters: int | None
    seconds: float
    chosen: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A preset or a baseline under one configuration.

    Attributes:
        name: key of ``PRESETS`` or ``BASELINES``.
        kind: "preset" or "baseline".
        by_chance: whether seeds matter.
        by_content: whether features matter.
        overrides: fields of ``TrainConfig`` that it heeds, in place of the preset's own defaults; none for a baseline.
    """

    name: str
    kind: str
    by_chance: bool
    by_content: bool
    overrides: Mapping[str, Any]

    def config(self, seed: int) -> dict[str, Any]:
        """Everything that shapes a run besides the data, as JSON has it.

        Raises:
            ConfigError: a value cannot be meant.
        """
        if self.kind == "baseline":
            return {"baseline": self.name, "seed": seed}
        return asdict(self._train_config(seed))

    def fit(self, prepared: Prepared, seed: int, report: Report) -> Fitted:
        """Trains and selects by validation.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was learned so far is not what was asked for.
            TrainingError: as from ``training.fitting.fit``.
        """
        started = time.monotonic()
        if self.kind == "preset":
            return self._train(prepared, seed, report, started)

        recommender = BASELINES[self.name](prepared.data, lambda e: validation_recall(e, prepared.split), seed)
        seconds = time.monotonic() - started
        validation = validation_recall(recommender.embeddings(), prepared.split)
        return Fitted(recommender, validation, None, None, None, seconds)

    def _train(self, prepared: Prepared, seed: int, report: Report, started: float) -> Fitted:
        try:
            asked = self._train_config(seed)
            config = selected(prepared, asked)
            model, outcome = fit(prepared, config, report)
        except Untrained as exc:
            raise KeyboardInterrupt from exc
        if outcome.ended == "interrupted":
            raise KeyboardInterrupt
        parameters = sum(p.numel() for p in model.encoder().parameters())
        seconds = time.monotonic() - started
        chosen = {name: value for name, value in asdict(config).items() if value != getattr(asked, name)}
        return Fitted(model, outcome.best_recall, outcome.best_epoch, outcome.ended, parameters, seconds, chosen)

    def _train_config(self, seed: int) -> TrainConfig:
        return configure(**{**self.overrides, "preset": self.name, "seed": seed})


def contestants(names: Sequence[str], overrides: Mapping[str, Any]) -> list[Contestant]:
    """The presets and baselines of these names, each once.

    Raises:
        ConfigError: no name, an unknown one, an override that cannot be meant, or one that none of these heeds.
    """
    known = known_names()
    if not names:
        raise ConfigError("presets", f"at least one of {', '.join(known)}", "none")
    for name in names:
        if name not in known:
            raise ConfigError("presets", f"some of {', '.join(known)}", name)
    for given in overrides:
        heeding = [preset for preset in PRESETS if given in HEEDED[preset]]
        if not set(heeding) & set(names):
            raise ConfigError("presets", f"at least one that heeds {given}: {', '.join(heeding)}", ", ".join(names))
    found = [
        Contestant(
            name,
            kind="preset" if name in PRESETS else "baseline",
            by_chance=name not in _WITHOUT_CHANCE,
            by_content=name not in _WITHOUT_CONTENT,
            overrides={field: overrides[field] for field in overrides if field in HEEDED.get(name, ())},
        )
        for name in dict.fromkeys(names)
    ]
    for contestant in found:
        contestant.config(0)
    return found


def revision(name: str) -> int:
    """Which revision of a preset or baseline this code holds; runs of another one are not its results."""
    return {**models.REVISIONS, **baselines.REVISIONS}.get(name, 1)


def known_names() -> Collection[str]:
    """All that can be compared: presets, then baselines."""
    return [*PRESETS, *(name for name in BASELINES if name not in PRESETS)]
