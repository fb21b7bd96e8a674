"""The challenger: a version that is tried beside the promoted one, and how."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from model_store.errors import ModelStoreError
from model_store.files import write_durably

Mode = Literal["split", "shadow"]


@dataclass(frozen=True, slots=True)
class Challenger:
    """A version on trial.

    Attributes:
        version: the model version.
        share: above 0 and at most 1: of the users (split), or of the requests (shadow).
        mode: "split" = these users are served by it; "shadow" = it answers aside, and is only compared.
    """

    version: str
    share: float
    mode: Mode = "split"

    def __post_init__(self) -> None:
        """Refuses what is no share or no mode."""
        if not 0 < self.share <= 1:
            raise ModelStoreError(f"expected a share above 0 and at most 1, found {self.share}")
        if self.mode not in get_args(Mode):
            raise ModelStoreError(f"expected one of {', '.join(get_args(Mode))}, found {self.mode!r}")


def read_challenger(path: Path) -> Challenger | None:
    """The challenger a file names; None where there is no file.

    Raises:
        ModelStoreError: the file is no challenger.
    """
    try:
        facts = json.loads(path.read_text("utf-8"))
        return Challenger(str(facts["version"]), float(facts["share"]), facts["mode"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
        raise ModelStoreError(f"{path}: expected version, share and mode: {exc!r}") from exc


def write_challenger(path: Path, challenger: Challenger | None) -> None:
    """Names a challenger in a file, durably; None removes it."""
    if challenger is None:
        path.unlink(missing_ok=True)
    else:
        write_durably(path, json.dumps(asdict(challenger)) + "\n")
