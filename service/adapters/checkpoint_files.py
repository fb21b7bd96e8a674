"""Checkpoints as files in one directory: ``<journal>.<model version>.checkpoint``."""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from model_store.files import fsync
from service.adapters.checkpoint_format import read_checkpoint, write_checkpoint
from service.domain import Basis, Checkpoint
from service.errors import StorageUnavailable

_SUFFIX = ".checkpoint"
_PART = ".part"
_MOST = 4  # versions of one journal
_ABANDONED_S = 3600.0  # after which nobody is still writing a part
_FORGOTTEN_S = 30 * 24 * 3600.0  # after which a journal that is not ours is taken for gone


class CheckpointFiles:
    """Keeps checkpoints in a directory, which processes and journals may share.

    Args:
        directory: made where it is missing.
        clock: seconds, as files are dated.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock

    def load(self, basis: Basis) -> Checkpoint | None:
        """The checkpoint of a journal and version; None where there is none."""
        path = self._path(basis)
        try:
            with path.open("rb") as file:
                return read_checkpoint(file, basis)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration) as exc:
            raise StorageUnavailable(f"{path}: {exc!r}") from exc

    def save(self, checkpoint: Checkpoint) -> None:
        """Puts a checkpoint in the place of the one before, in one step that survives a crash."""
        path = self._path(checkpoint.basis)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._aside(path) as file:
                write_checkpoint(file, checkpoint)
        except (OSError, ValueError, TypeError) as exc:
            raise StorageUnavailable(f"{path} cannot be written: {exc}") from exc

    def prune(self, journal: str, versions: Collection[str]) -> None:
        """Removes what nobody will ask for: of this journal, of journals long gone, and parts of what was killed."""
        try:
            for path in self._doomed(journal, versions):
                path.unlink(missing_ok=True)  # another process may prune as well
        except OSError as exc:
            raise StorageUnavailable(f"{self._directory} cannot be tidied up: {exc}") from exc

    def _path(self, basis: Basis) -> Path:
        return self._directory / f"{basis.journal}.{basis.version}{_SUFFIX}"

    @contextmanager
    def _aside(self, path: Path) -> Iterator[BinaryIO]:
        """A file that takes the place of another once it is whole, and leaves nothing behind otherwise."""
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PART}")  # other processes have parts of their own
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        fsync(self._directory)

    def _doomed(self, journal: str, versions: Collection[str]) -> Iterator[Path]:
        mine: list[tuple[float, Path]] = []
        for path, age in self._ages():
            owner, _, version = path.name.removesuffix(_SUFFIX).partition(".")
            if path.suffix == _PART:
                doomed = age > _ABANDONED_S
            elif owner != journal:
                doomed = age > _FORGOTTEN_S
            else:
                doomed = version not in versions
                if not doomed:
                    mine.append((age, path))
            if doomed:
                yield path
        yield from (path for _, path in sorted(mine)[_MOST:])

    def _ages(self) -> list[tuple[Path, float]]:
        """Our files with the seconds since they were written."""
        now, found = self._clock(), []
        for path in self._directory.iterdir():
            if path.suffix in {_SUFFIX, _PART}:
                with contextlib.suppress(FileNotFoundError):  # gone in the meantime
                    found.append((path, now - path.stat().st_mtime))
        return found
