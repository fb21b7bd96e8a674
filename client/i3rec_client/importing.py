"""Importing a file of items, line by line, so that an import that was cut off goes on where it stopped."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from i3rec_client.client import Client
from i3rec_client.errors import I3RecError
from i3rec_client.item_answers import Result
from i3rec_client.parts import MOST_LINES, Cutter, Part
from i3rec_client.patience import Patience
from i3rec_client.progress import FailedLines, Progress, ProgressFile

# Of single lines: the same line may be taken later. Whole requests that are answered so, the client itself tries again.
_NOT_NOW = frozenset({429, 503, 504, 507})


class ImportStopped(I3RecError):
    """The import cannot go on now; what was acknowledged is noted."""


class Import:
    """One file's way into the catalogue.

    Beside the file stand ``<file>.progress``, as long as the import is not through, and ``<file>.failed`` with the
    lines that were refused. Lines that were sent and not noted are sent again, which changes nothing.

    Args:
        client: of the service.
        path: of the file, one item a line.
        chunk: lines in a request.
        patience: how long lines that cannot be stored now are sent again; anew for each request that gets through.
        on_failed: is told of each line that was refused.
        on_progress: is told after each request how far the import is, and the position in the file.
        on_wait: is told of each pause before it is made, in seconds.
    """

    def __init__(
        self,
        client: Client,
        path: Path,
        *,
        chunk: int = MOST_LINES,
        patience: Patience | None = None,
        on_failed: Callable[[Result], object] = lambda _: None,
        on_progress: Callable[[Progress, int], object] = lambda _, __: None,
        on_wait: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._client = client
        self._path = path
        self._chunk = chunk
        self._patience = patience or Patience()
        self._on_failed = on_failed
        self._on_progress = on_progress
        self._on_wait = on_wait
        self._noted = ProgressFile(path.with_name(path.name + ".progress"))
        self._failed = FailedLines(path.with_name(path.name + ".failed"))

    def run(self) -> Progress:
        """Imports what is left of the file; gives the sums of the whole import.

        Raises:
            ImportStopped: the service could not store for as long as patience lasts, or the file is not the one that
                was begun.
            ApiError: the service refuses the import as a whole.
            TransportError: the service does not answer.
            OSError: a file cannot be read or written.
        """
        progress = self._noted.read()
        with self._path.open("rb") as source:
            digest = self._skip(source, progress)
            self._failed.keep(progress.lines)
            for part in _parts(source, self._chunk, progress.lines):
                digest.update(part.content)
                progress = self._load(part, replace(progress, sha256=digest.hexdigest()))
                self._on_progress(progress, source.tell())
        self._noted.remove()
        return progress

    def _skip(self, source: BinaryIO, progress: Progress) -> "hashlib._Hash":
        """Passes over what was acknowledged; the hash of it."""
        digest = hashlib.sha256()
        for _ in range(progress.lines):
            digest.update(source.readline().removesuffix(b"\n") + b"\n")
        if progress.lines and digest.hexdigest() != progress.sha256:
            raise ImportStopped(
                f"the first {progress.lines} lines of {self._path} are not those that were imported: "
                f"remove {self._noted.path} to begin anew"
            )
        return digest

    def _load(self, part: Part, progress: Progress) -> Progress:
        """Sends a part and notes that it is through."""
        results = self._outcome(part)
        failed = [result for result in results if result.error]
        self._failed.add(failed, part)
        for result in failed:
            self._on_failed(result)
        lines, written = part.before + len(part.lines), progress.written + len(results) - len(failed)
        done = replace(progress, lines=lines, written=written, failed=progress.failed + len(failed))
        self._noted.write(done)
        return done

    def _outcome(self, part: Part) -> list[Result]:
        """What became of each line of a part; those that cannot be stored now are sent again after a pause."""
        results = self._send(part, range(part.before + 1, part.before + len(part.lines) + 1))
        pauses = self._patience.pauses()
        while early := _early(results.values()):
            pause_s = next(pauses, None)
            if pause_s is None:
                raise ImportStopped("the service cannot store items now: the same command goes on later")
            self._on_wait(pause_s)
            self._patience.sleep(pause_s)
            results |= self._send(part, early)
        return [*results.values()]

    def _send(self, part: Part, numbers: Sequence[int]) -> dict[int, Result]:
        """Sends the lines of these numbers, counted from 1 in the file; what became of each."""
        lines = [part.lines[number - part.before - 1] for number in numbers]
        results = self._client.load_items(lines, chunk=len(lines))
        numbered = ((numbers[(result.line or 0) - 1], result) for result in results)
        return {number: replace(result, line=number) for number, result in numbered}


def _early(results: Iterable[Result]) -> list[int]:
    """The lines to send again: those that could not be stored, and what comes of the same items after them.

    The later line of an item must be the last that is written.
    """
    items: set[str | None] = set()
    numbers = []
    for result in results:
        if result.status in _NOT_NOW or result.item_id in items:
            items.add(result.item_id)
            numbers.append(result.line or 0)
    return numbers


def _parts(source: BinaryIO, chunk: int, before: int) -> Iterator[Part]:
    cutter = Cutter(chunk, before)
    # Not by iteration, which forbids tell().
    while line := source.readline():
        yield from cutter.take(line.removesuffix(b"\n"))
    yield from cutter.rest()
