"""Checkpoints: a run's whole state in one file, so that a run that was stopped goes on where it was.

A checkpoint is a zip archive as ``torch.save`` writes it: tensors, numbers, text and containers of these, nothing that
needs code to be read. It says which run it is of, and no other run takes it.
"""

import hashlib
import pickle  # for the name of an error; nothing is ever unpickled here
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.files import fsync
from training import models
from training.config import TrainConfig
from training.errors import UnusableCheckpoint
from training.models.contract import Model, TrainingData
from training.splits import Split
from training.whole_files import in_place_of

_FORMAT = 1  # raised when the meaning of a checkpoint changes, so that old ones are refused
_SHOWN = 4  # differences that a message names
# What the readers of archives raise where the bytes are wrong; offsets that lie make a seek fail.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError)


class Checkpoint:
    """The checkpoint of one run, whether its file is there yet or not.

    Args:
        path: the file.
        identity: name → value of all that the run follows from; see ``identity_of``.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]) -> None:
        self.path = path
        self._identity = dict(identity)

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last, its tensors in main memory; None where there is no file.

        Raises:
            UnusableCheckpoint: the file is damaged, or of another run; it stays as it is.
            OSError: the file cannot be read.
        """
        if not self.path.exists():
            return None
        content = _read(self.path)
        self._check(content.get("identity", {}))
        state: dict[str, Any] = content["state"]
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Puts a state in place of the one before, whole or not at all, and on disk when this returns.

        Raises:
            OSError: it cannot be written; the one before stays.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with in_place_of(self.path) as partial, partial.open("wb") as file:
                torch.save({"identity": self._identity, "state": dict(state)}, file)
        except RuntimeError as exc:  # what torch's writer makes of a disk that is full
            raise OSError(f"{self.path}: expected room for a checkpoint, found {str(exc).splitlines()[0]}") from exc
        fsync(self.path.parent)

    def refusal(self, found: str) -> UnusableCheckpoint:
        """The error that says what stands in the file in place of this run's state."""
        return UnusableCheckpoint(self.path, "a checkpoint of this very run", found)

    def _check(self, identity: Mapping[str, str]) -> None:
        differences = [
            f"{name} {identity.get(name, 'unknown')} in place of {self._identity.get(name, 'none')}"
            for name in dict.fromkeys([*self._identity, *identity])
            if identity.get(name) != self._identity.get(name)
        ]
        if differences:
            more = f" and {len(differences) - _SHOWN} more differences" if len(differences) > _SHOWN else ""
            raise self.refusal(", ".join(differences[:_SHOWN]) + more)


def identity_of(model: Model, config: TrainConfig, data: TrainingData, split: Split) -> dict[str, str]:
    """All that the course of a run follows from, as name → text: configuration, device, network, its code and data.

    Versions of libraries and the number of threads are left out: with others a run goes on, though not bit by bit.
    """
    parameters = [f"{name} {tuple(value.shape)}" for name, value in model.network.named_parameters()]
    in_order = replace(config, settings=dict(sorted(config.settings.items())))  # not that of the flags
    return {
        "format": str(_FORMAT),
        "revision": str(models.REVISIONS.get(config.preset, 1)),
        **{name: repr(value) for name, value in asdict(in_order).items()},
        "device": next(model.network.parameters()).device.type,  # what "auto" has become
        "network": f"of {len(parameters)} parameters ({_digest('; '.join(parameters).encode())})",
        **identity_of_data(data, split),
    }


def identity_of_data(data: TrainingData, split: Split) -> dict[str, str]:
    """The part of it that is the data: what is learned from, what selects, and the features."""
    contents = [array for f in data.features.values() for array in (f.matrix, f.present)]
    return {
        "users and items": f"{data.n_users} and {data.n_items}",
        "training interactions": f"{len(data.indices)} ({_digest(data.indptr, data.indices)})",
        "validation interactions": f"{split.val.nnz} ({_digest(split.val.indptr, split.val.indices)})",
        "features": f"{', '.join(data.features)} ({_digest(*contents)})",
    }


def _read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of any run, every byte checked: torch's reader passes over wrong checksums."""
    expected = "a checkpoint that `training train` wrote"
    with path.open("rb") as file:
        try:
            broken = zipfile.ZipFile(file).testzip()
            if broken is not None:
                raise zipfile.BadZipFile(f"wrong bytes in {broken!r}")
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
        except _DAMAGE as exc:
            reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            raise UnusableCheckpoint(path, expected, f"a damaged or other file ({reason})") from exc
    if not isinstance(content, dict) or not isinstance(content.get("identity"), dict) or "state" not in content:
        raise UnusableCheckpoint(path, expected, "another file of torch")
    return content


def _digest(*contents: NDArray[Any] | bytes) -> str:
    """The first 12 hex digits of the sha256 over arrays, their shapes and types."""
    total = hashlib.sha256()
    for content in contents:
        if isinstance(content, np.ndarray):
            total.update(f"{content.dtype.str}{content.shape}".encode())
            total.update(np.ascontiguousarray(content).data)
        else:
            total.update(content)
    return total.hexdigest()[:12]
