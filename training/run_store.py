"""The runs that a report directory keeps: read with suspicion, as anything can have happened to a file since."""

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from model_store.files import NO_ARRAY
from training.metrics import RankingResult
from training.protocols import PROTOCOLS, Judged
from training.runs import FORMAT, Run
from training.whole_files import in_place_of, write_text

_ARRAYS = ("users", "recall", "ndcg", "hr")  # of a RankingResult
# What is raised where the bytes of an archive, or the names and shapes in it, are wrong; JSON that is nested too deep.
_DAMAGE = (*NO_ARRAY, zipfile.BadZipFile, zlib.error, RuntimeError, LookupError)
_TOLERANCE = 1e-9  # of means: they are sums, whose last digits follow from the processor
_NEEDED: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("key", "model", "kind", "protocol", "pattern", "data_sha256", "finished_at"), str),
    **dict.fromkeys(("revision", "d"), int),
    **dict.fromkeys(("config", "metrics"), dict),
    "rate": (int, float, NoneType),
    "mask_sha256": (str, NoneType),
    "seed": (int, NoneType),
    "encoder_parameters": (int, NoneType),
    "seconds": (int, float),
}
"""Field of a record that is read again → what it is."""


@dataclass(frozen=True, slots=True)
class RunStore:
    """The runs of a report directory: ``runs/<key>.json``, with the users' metrics in ``runs/<key>.npz``.

    A run is kept only if both files can be read, are whole and belong together; else it is as if it had not been run.

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
        """The users' metrics of a run, every byte checked.

        Raises:
            OSError: there is no such run.
            BadZipFile, ValueError, KeyError: it is damaged, which no run is that ``records`` lists.
        """
        path = self.directory / f"{key}.npz"
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"{path}: wrong bytes in {broken!r}")
        with np.load(path, allow_pickle=False) as arrays:
            ks = tuple(int(k) for k in arrays["ks"])
            parts = sorted({name.rpartition(".")[0] for name in arrays.files} - {""})
            return {part: RankingResult(ks, *(arrays[f"{part}.{name}"] for name in _ARRAYS)) for part in parts}

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
            return record if _whole(record, path.stem) and _belong(self.load(path.stem), record) else None
        except _DAMAGE:
            return None


def _whole(record: Any, key: str) -> bool:
    """Whether this is the record of the run of that name, with all that is read of it later."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return False
    needed = all(name in record and isinstance(record[name], kinds) for name, kinds in _NEEDED.items())
    return needed and record["key"] == key and record["protocol"] in PROTOCOLS


def _belong(judged: Judged, record: Mapping[str, Any]) -> bool:
    """Whether the means of a record are those of these users, in every part that the protocol asks for."""
    kept = record["metrics"]
    parts = PROTOCOLS[record["protocol"]].parts
    return kept.keys() == judged.keys() >= set(parts) and all(
        isinstance(kept[part], dict) and _close(kept[part], result.mean()) for part, result in judged.items()
    )


def _close(kept: Mapping[str, Any], means: Mapping[str, float]) -> bool:
    return kept.keys() == means.keys() and all(
        isinstance(kept[name], int | float) and math.isclose(kept[name], mean, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        for name, mean in means.items()
    )
