"""The mark on a dataset directory that says how far into a journal it reaches: the file ``journal.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

from training.errors import DatasetError

MARK_NAME = "journal.json"
_EXPECTED = 'a JSON object of two, "identity" (a text) and "watermark" (a whole number of at least 0)'


@dataclass(frozen=True, slots=True)
class Watermark:
    """Up to where a data set contains a journal.

    Attributes:
        identity: the journal's own random name.
        seq: number of the last record that the data contains; 0 where the journal was empty.
    """

    identity: str
    seq: int


def read_watermark(directory: Path) -> Watermark | None:
    """The mark of a dataset directory; None where its data is of no journal.

    Raises:
        DatasetError: the file is something else.
    """
    path = directory / MARK_NAME
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise DatasetError(path, _EXPECTED, f"an unreadable file ({exc})") from exc
    match facts:
        case {"identity": str(identity), "watermark": int(seq), **rest} if identity and seq >= 0 and not rest:
            if type(seq) is int:  # true is an int as well
                return Watermark(identity, seq)
    raise DatasetError(path, _EXPECTED, repr(facts)[:100])


def write_watermark(directory: Path, mark: Watermark) -> None:
    """Marks a dataset directory.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps({"identity": mark.identity, "watermark": mark.seq}, indent=2)
    (directory / MARK_NAME).write_text(text + "\n", encoding="utf-8", newline="\n")
