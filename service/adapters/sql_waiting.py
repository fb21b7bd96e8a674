"""What waits for the journal's writer: entries, and whoever wants to know what came of them."""

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.adapters.sql_insert import Outcome, Write
from service.domain import Record
from service.errors import StorageUnavailable

Answer = Outcome | StorageUnavailable


class Request(Protocol):
    """Entries that are written together, or not at all."""

    @property
    def writes(self) -> Sequence[Write]:
        """The entries, in their order."""
        ...

    @property
    def done(self) -> "Future[Any]":
        """Resolves once they are on disk."""
        ...

    def answer(self, outcomes: Sequence[Answer]) -> None:
        """Says what came of each entry."""
        ...


@dataclass(slots=True)
class One:
    """A single entry: what goes wrong with it is raised."""

    write: Write
    done: "Future[Record]" = field(default_factory=Future)

    @property
    def writes(self) -> Sequence[Write]:
        """The entry."""
        return (self.write,)

    def answer(self, outcomes: Sequence[Answer]) -> None:
        """Says what came of it."""
        (outcome,) = outcomes
        if isinstance(outcome, Record):
            self.done.set_result(outcome)
        else:
            self.done.set_exception(outcome)


@dataclass(slots=True)
class Many:
    """Entries for whom one waits: all are told of at once, errors among the records."""

    writes: Sequence[Write]
    done: "Future[list[Answer]]" = field(default_factory=Future)

    def answer(self, outcomes: Sequence[Answer]) -> None:
        """Says what came of each."""
        self.done.set_result(list(outcomes))


def take(waiting: "queue.SimpleQueue[Request | None]", most: int) -> tuple[list[Request], bool]:
    """Waits for one request, then takes those that wait with it, up to ``most`` entries or the first that passes that.

    Returns:
        Them, and whether there will be no more: None was met.
    """
    batch: list[Request] = []
    size = 0
    request = waiting.get()
    while request is not None:
        if request.done.set_running_or_notify_cancel():
            batch.append(request)
            size += len(request.writes)
        if size >= most:
            return batch, False
        try:
            request = waiting.get_nowait()
        except queue.Empty:
            return batch, False
    return batch, True


def answer_all(batch: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
    """Tells each request what came of its entries; ``outcomes`` are those of all, one after the other."""
    start = 0
    for request in batch:
        end = start + len(request.writes)
        request.answer(outcomes[start:end])
        start = end


def refuse_all(batch: Sequence[Request], refusal: Callable[[], StorageUnavailable]) -> None:
    """Tells each request, by an error of its own, that nothing was written."""
    for request in batch:
        request.answer([refusal()] * len(request.writes))
