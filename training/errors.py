"""Errors of the trainer.

TrainingError
├── ConfigError          a setting of the run cannot be meant
├── DatasetError         a dataset directory (or a file it is made from) is not what its format says
├── JournalUnreadable    a journal cannot be opened, or is not one that the service writes
├── NothingToLearn       a sound data set that no model can be trained on
├── Diverged             the loss is no longer finite
├── NotFinite            what was computed is not, or a system of equations has no solution
├── Untrained            a run was stopped before there was a model to keep
├── UnusableCheckpoint   a checkpoint is damaged, or of another run
├── ExportRefused        the exported encoder or a featurizer does not compute what it should
└── PreparationFailed    data could not be fetched, or not be written where it was asked for
"""

from collections.abc import Mapping
from pathlib import Path


class TrainingError(Exception):
    """Anything the trainer refuses to do."""


class DatasetError(TrainingError):
    """A dataset directory is not what ``docs/dataset-format.md`` says.

    Attributes:
        path: the file (or directory) at fault.
        line: its line, counted from 1 with the header (Parquet: its row, from 1); None where no line is at fault.
        expected: what the format asks for.
        found: what stands there.
    """

    def __init__(self, path: Path, expected: str, found: str, line: int | None = None) -> None:
        self.path = path
        self.line = line
        self.expected = expected
        self.found = found
        place = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{place}: expected {expected}, found {found}")


class JournalUnreadable(TrainingError):
    """A journal cannot be opened, or is not one that the service writes.

    Attributes:
        journal: its URL, without the password.
        reason: the database's own words, or what was expected of a record.
    """

    def __init__(self, journal: str, reason: str) -> None:
        self.journal = journal
        self.reason = reason
        super().__init__(f"the journal {journal} cannot be read: {reason}")


class ConfigError(TrainingError):
    """A setting of the run cannot be meant."""

    def __init__(self, name: str, expected: str, found: object) -> None:
        self.name = name
        self.expected = expected
        self.found = found
        super().__init__(f"{name}: expected {expected}, found {found!r}")


class NothingToLearn(TrainingError):
    """The data set is sound, but too small for any model."""


class Diverged(TrainingError):
    """The loss is no longer finite.

    Attributes:
        epoch: where it happened, from 1.
        terms: the terms of the loss at that step.
    """

    def __init__(self, epoch: int, terms: Mapping[str, float]) -> None:
        self.epoch = epoch
        self.terms = terms
        super().__init__(f"epoch {epoch}: expected a finite loss, found {dict(terms)}; try a smaller --lr")


class NotFinite(TrainingError):
    """What was computed is not finite, or a system of equations has no solution: a setting is beyond all reason.

    Attributes:
        what: was computed.
        advice: what to change.
    """

    def __init__(self, what: str, advice: str) -> None:
        self.what = what
        self.advice = advice
        super().__init__(f"{what}: expected finite numbers, found others or no solution; try {advice}")


class Untrained(TrainingError):
    """A run was stopped before its first validation; the model is still its random beginning."""


class UnusableCheckpoint(TrainingError):
    """A checkpoint is damaged, or of another run; neither the file nor the model was changed.

    Attributes:
        path: the file.
        expected: what should stand in it.
        found: what does, or how the runs differ.
    """

    def __init__(self, path: Path, expected: str, found: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(f"{path}: expected {expected}, found {found}; remove it to begin anew, or name another file")


class ExportRefused(TrainingError):
    """The exported encoder or a featurizer does not compute what it should; nothing may be published."""


class PreparationFailed(TrainingError):
    """Data could not be fetched, or not be written where it was asked for."""
