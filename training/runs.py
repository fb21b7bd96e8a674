"""What can be run in a sweep: one model under one protocol, pattern and seed, and all that its result follows from."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.contestants import Contestant, revision
from training.errors import ConfigError
from training.protocols import PROTOCOLS, Pattern, Protocol, Withheld

FORMAT = 2  # of run files; raised when the meaning of a protocol or a file changes, so that old runs are run again
_COMPLETE = "0"  # the name of the pattern in which nothing is missing
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
            "revision": revision(self.contestant.name),
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
