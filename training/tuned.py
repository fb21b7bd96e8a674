"""What a search for a configuration found, kept beside the checkpoint of the run that it was made for."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_store.files import write_durably
from training import models
from training.checkpoint import identity_of_data
from training.config import TrainConfig
from training.errors import ConfigError
from training.prepared import Prepared


class Tuned:
    """The result of a search, so that a run that goes on need not search again, and goes on with what was found.

    Args:
        checkpoint: of the run; the result lies beside it.
        given: the configuration that the search began with.
        prepared: the data that it was made on.
        trials: how many configurations it tried.
    """

    def __init__(self, checkpoint: Path, given: TrainConfig, prepared: Prepared, trials: int) -> None:
        self._path = beside(checkpoint)
        data = identity_of_data(prepared.data, prepared.split)
        revision = models.REVISIONS.get(given.preset, 1)
        asked = {"given": asdict(given), "revision": revision, "trials": trials, "data": data}
        self._asked = json.loads(json.dumps(asked))

    def load(self) -> TrainConfig | None:
        """What was found; None where there is no result, or that of another search."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(kept, Mapping) or kept.get("asked") != self._asked:
            return None
        return _config(kept.get("found"))

    def save(self, found: TrainConfig) -> None:
        """Keeps what was found.

        Raises:
            OSError: it cannot be written.
        """
        write_durably(self._path, json.dumps({"asked": self._asked, "found": asdict(found)}, indent=2) + "\n")


def beside(checkpoint: Path) -> Path:
    """Where the result of a search lies."""
    return checkpoint.with_name(f"{checkpoint.name}.tuned")


def _config(found: Any) -> TrainConfig | None:
    try:
        return TrainConfig(**found)
    except (TypeError, ConfigError):
        return None
