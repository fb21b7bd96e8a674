"""The write use cases for users: what they did, and forgetting it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import anyio

from service.domain import EraseUser, Interact, Record
from service.metrics import Metrics
from service.ports import Journal


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of interactions.

    Attributes:
        accepted: how many were written.
        repeated: how many had been written before, under the same event id.
        seq: the highest place in the journal among them.
    """

    accepted: int
    repeated: int
    seq: int


class Feedback:
    """Writes interactions so that what is acknowledged is on disk and counts in the next list.

    Args:
        journal: takes the records.
        metrics: of the app.
        arm_of: tells in which arm of a split test a user is.
        noted: is told what was written, before the writing is acknowledged.
    """

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        arm_of: Callable[[str], str] = lambda _: "current",
        noted: Callable[[Iterable[Record]], object] = lambda _: None,
    ) -> None:
        self._journal = journal
        self._noted = noted
        self._metrics = metrics
        self._arm_of = arm_of

    async def note(self, interactions: Sequence[Interact]) -> Noted:
        """Writes interactions; all of them are known when this returns.

        Items nobody knows are taken as well: their description may be on its way.

        Raises:
            StorageUnavailable: the journal took some of them at most. Repeat the call: those with an event id are
                written once.
        """
        if not interactions:
            return Noted(0, 0, 0)
        with self._metrics.stage("journal"), anyio.CancelScope(shield=True):
            entries = [(interaction, None) for interaction in interactions]
            records = await asyncio.wrap_future(self._journal.append_all(entries))
        done = [record for record in records if not isinstance(record, BaseException)]
        self._noted(done)
        repeated = sum(record.repeated for record in done)
        self._metrics.interactions.inc(len(done) - repeated)
        for interaction, record in zip(interactions, records, strict=True):
            if not isinstance(record, BaseException) and not record.repeated:
                self._metrics.arm_interactions.labels(self._arm_of(interaction.user_id)).inc()
        for record in records:
            if isinstance(record, BaseException):
                raise record
        return Noted(len(done) - repeated, repeated, max((record.seq for record in done), default=0))

    async def erase(self, user_id: str) -> int:
        """Erases a user's interactions from the journal and returns the record's ``seq``.

        What a model learned from them stays until the next training.

        Raises:
            StorageUnavailable: the journal takes no records; nothing was changed.
        """
        with anyio.CancelScope(shield=True):
            record = await asyncio.wrap_future(self._journal.append(EraseUser(user_id)))
            self._noted([record])
        return record.seq
