"""A sweep: runs that are kept one by one, so that an interrupted sweep goes on where it stopped."""

import hashlib
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.contestants import Contestant, Fitted
from training.dataset import Dataset
from training.errors import ConfigError, TrainingError
from training.loop import Progress
from training.metrics import RankingResult
from training.protocols import PROTOCOLS, Judged, Pattern, Protocol, Withheld, judge, prepare
from training.whole_files import in_place_of, write_text

FORMAT = 1  # of run files; raised when the meaning of a protocol or a file changes, so that old runs are run again
_COMPLETE = "0"  # the name of the pattern in which nothing is missing
_ARRAYS = ("users", "recall", "ndcg", "hr")  # of a RankingResult
_TABLES = ("interactions.tsv", "interactions.parquet", "items.tsv", "items.parquet")


@dataclass(frozen=True, slots=True)
class Run:
    """One model under one protocol, pattern and seed.

    Attributes:
        contestant: the model.
        protocol: what is asked of it.
        pattern: what is missing.
        seed: of every random choice of the model; None where it makes none.
    """

    contestant: Contestant
    protocol: Protocol
    pattern: Pattern
    seed: int | None

    @property
    def key(self) -> str:
        """The name of its files, unique in a sweep."""
        seed = "any-seed" if self.seed is None else f"seed-{self.seed}"
        return f"{self.contestant.name}_{self.protocol.name}_{self.pattern.name}_{seed}"

    @property
    def training(self) -> tuple[str, Withheld, str, int | None]:
        """What it is trained on; runs that have this in common share one training."""
        masked = self.protocol.masked_in_training and self.contestant.by_content
        pattern = self.pattern.name if masked else _COMPLETE
        return self.contestant.name, self.protocol.withheld, pattern, self.seed

    def identity(self, data_sha256: str) -> dict[str, Any]:
        """All that its result follows from."""
        return {
            "format": FORMAT,
            "model": self.contestant.name,
            "kind": self.contestant.kind,
            "protocol": self.protocol.name,
            "pattern": self.pattern.name,
            "rate": self.pattern.rate,
            "mask_sha256": self.pattern.sha256,
            "seed": self.seed,
            "config": self.contestant.config(self.seed or 0),
            "data_sha256": data_sha256,
        }

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.contestant.name}, {self.protocol.name}, {self.pattern}{seed}"


def plan(
    contestants: Sequence[Contestant],
    asked: Mapping[str, Sequence[Pattern]],
    seeds: Iterable[int],
) -> list[Run]:
    """All runs of a sweep: seed by seed, so that the tables of the first one are whole early.

    Args:
        contestants: what is compared.
        asked: name of a protocol → its patterns. Where ``fold-in`` is among them, the static runs that its users are
            compared with are added.
        seeds: of models that choose by chance; the others run once.

    Raises:
        ConfigError: no run at all.
    """
    wanted = {name: list(dict.fromkeys(patterns)) for name, patterns in asked.items()}
    if "fold-in" in wanted:
        wanted["static"] = list(dict.fromkeys([*wanted.get("static", ()), *wanted["fold-in"]]))
    runs = {
        run.key: run
        for seed in seeds
        for protocol in PROTOCOLS.values()
        for pattern in wanted.get(protocol.name, ())
        for contestant in contestants
        for run in [Run(contestant, protocol, pattern, seed if contestant.by_chance else None)]
    }
    if not runs:
        raise ConfigError("protocol", "a protocol with at least one rate or mask", ", ".join(asked) or "none")
    return list(runs.values())


def fingerprint(directory: Path) -> str:
    """sha256 over the names and contents of the files that make a dataset directory."""
    paths = [*(directory / name for name in _TABLES), *sorted(directory.glob("features_*.npy"))]
    total = hashlib.sha256()
    for path in paths:
        if path.is_file():
            total.update(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class RunStore:
    """The runs of a report directory: ``runs/<key>.json``, with the users' metrics in ``runs/<key>.npz``.

    Attributes:
        directory: of the run files.
    """

    directory: Path

    def done(self, run: Run, data_sha256: str) -> bool:
        """Whether this very run, with its configuration and data, is kept."""
        record = self._read(self.directory / f"{run.key}.json")
        identity = json.loads(json.dumps(run.identity(data_sha256)))
        return record is not None and all(record.get(name) == value for name, value in identity.items())

    def records(self) -> list[dict[str, Any]]:
        """All runs that are kept, oldest first; files that are none are passed over."""
        found = [self._read(path) for path in sorted(self.directory.glob("*.json"))]
        return sorted((record for record in found if record), key=lambda record: record["finished_at"])

    def load(self, key: str) -> Judged:
        """The users' metrics of a run.

        Raises:
            OSError: there is no such run.
        """
        with np.load(self.directory / f"{key}.npz", allow_pickle=False) as arrays:
            ks = tuple(int(k) for k in arrays["ks"])
            parts = sorted({name.rpartition(".")[0] for name in arrays.files} - {""})
            return {part: _result(ks, {name: arrays[f"{part}.{name}"] for name in _ARRAYS}) for part in parts}

    def save(self, run: Run, data_sha256: str, facts: Mapping[str, Any], judged: Judged) -> dict[str, Any]:
        """Keeps a run, whole or not at all, and returns its record."""
        record = {
            **run.identity(data_sha256),
            "key": run.key,
            **facts,
            "finished_at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "metrics": {part: result.mean() for part, result in judged.items()},
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{run.key}.json"
        arrays = {f"{part}.{name}": getattr(result, name) for part, result in judged.items() for name in _ARRAYS}
        ks = np.array(next(iter(judged.values())).ks)
        with in_place_of(path.with_name(f"{run.key}.npz")) as partial:
            with partial.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, ks=ks, **arrays)
            path.unlink(missing_ok=True)  # an old record must never stand beside new arrays
        write_text(path, json.dumps(record, indent=2) + "\n")
        return record

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        sound = isinstance(record, dict) and record.get("format") == FORMAT
        return record if sound and path.with_suffix(".npz").is_file() else None


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
        pending = [run for run in group if not store.done(run, data_sha256)]
        if not pending:
            continue
        display.begin(pending[0])
        try:
            fitted = _fit(pending[0], dataset, display)
        except ConfigError:
            raise
        except TrainingError as exc:
            failures += pending
            for run in pending:
                display.failed(run, exc)
            continue
        for run in pending:
            judged = judge(fitted.recommender, dataset, run.protocol, run.pattern)
            judged |= _trained_with_them(run, judged, store, data_sha256)
            display.kept(run, store.save(run, data_sha256, _facts(fitted), judged))
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


def _trained_with_them(run: Run, judged: Judged, store: RunStore, data_sha256: str) -> Judged:
    """For ``fold-in``: what the withheld users get from the model trained with them, which is the static run."""
    static = Run(run.contestant, PROTOCOLS["static"], run.pattern, run.seed)
    if run.protocol.withheld is not Withheld.USERS or not store.done(static, data_sha256):
        return {}
    whole = store.load(static.key)["all"]
    kept = np.isin(whole.users, judged["withheld"].users)
    return {"trained": _result(whole.ks, {name: getattr(whole, name)[kept] for name in _ARRAYS})}


def _result(ks: tuple[int, ...], arrays: Mapping[str, NDArray[Any]]) -> RankingResult:
    return RankingResult(ks, arrays["users"], arrays["recall"], arrays["ndcg"], arrays["hr"])
