"""Keeps what serves in step with what other processes write to the same journal."""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import takewhile

import anyio
from anyio import to_thread

from service.domain import Record
from service.errors import NotReachedYet, StorageUnavailable, UnknownRecord
from service.handle import ServableHandle
from service.histories import Histories
from service.metrics import Metrics
from service.ports import Journal
from service.replay import Replay
from service.servable import Servable

logger = logging.getLogger(__name__)

_PAUSE_S = 0.01


class JournalFollower:
    """Applies the records of other processes, so that every replica shows every item.

    What this process writes it applies itself before it is acknowledged; that is not read again.

    Args:
        handle: says what serves.
        journal: that is shared.
        replay: applies.
        metrics: of the app.
        histories: are told about whom others wrote.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        handle: ServableHandle,
        journal: Journal,
        replay: Replay,
        metrics: Metrics,
        histories: Histories | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._handle = handle
        self._journal = journal
        self._replay = replay
        self._metrics = metrics
        self._clock = clock
        self._histories = histories
        self._noted = journal.last_seq() if histories else 0  # about whom was written up to here is known
        self._one_at_a_time = anyio.Lock()
        self._woken = anyio.Event()
        self._up_to_date_at = clock()
        self._failing = False

    @property
    def failing(self) -> bool:
        """Whether the journal could not be read when it was last looked at."""
        return self._failing

    @property
    def behind_s(self) -> float:
        """For how long what others wrote may be missing here: seconds since the journal was last read to its end."""
        return self._clock() - self._up_to_date_at

    def wake(self) -> None:
        """Makes it look at once; on the event loop."""
        self._woken.set()

    async def run(self, poll_s: float) -> None:
        """Looks every ``poll_s`` seconds what others wrote, until cancelled. Trouble is logged and tried again."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._load_histories, poll_s)
            await self._keep_looking(poll_s)

    async def _keep_looking(self, poll_s: float) -> None:
        while True:
            with anyio.move_on_after(poll_s):
                await self._woken.wait()
            self._woken = anyio.Event()
            try:
                await self.catch_up()
                self._failing = False
            except Exception:  # whatever it is: a follower that ends would let this replica fall behind for good
                self._failing = True
                logger.exception("journal_not_followed")

    async def _load_histories(self, poll_s: float) -> None:
        while self._histories:
            try:
                await to_thread.run_sync(self._histories.load)
            except Exception:  # whatever it is: the journal is asked about everybody until it goes well
                logger.warning("histories_not_loaded", exc_info=True)
                await anyio.sleep(poll_s)
            else:
                return

    async def catch_up(self) -> None:
        """Applies what others have written up to now.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        async with self._one_at_a_time:
            started = self._clock()
            last = await to_thread.run_sync(self._journal.last_seq)
            await self._note_users(last)
            if not self._handle.live:
                return
            for servable in self._handle.live:
                await self._follow_or_end_trial(servable, last)
            self._up_to_date_at = started

    async def _note_users(self, last: int) -> None:
        if self._histories and last > self._noted:
            self._histories.note_others(await to_thread.run_sync(self._journal.users_of_others, self._noted))
            self._noted = last

    async def _follow_or_end_trial(self, servable: Servable, last: int) -> None:
        try:
            await self._follow(servable, last)
        except StorageUnavailable:
            raise
        except Exception as exc:  # whatever it is: a trial must not keep what serves from following
            if self._handle.peek is servable:
                raise
            self._end_trial(servable, exc)

    async def _follow(self, servable: Servable, last: int) -> None:
        """Applies the records of others up to ``last``; becoming visible in order, there are no more of them."""
        if last <= servable.followed:
            return
        others = takewhile(lambda record: record.seq <= last, self._journal.read_others(servable.followed))
        found = await self._replay.apply(servable, others, servable.followed)
        self._metrics.followed.inc(found > servable.followed)
        if servable in self._handle.live:  # a trial that ended meanwhile left behind how much is surely known
            servable.followed = last

    async def spread(self, records: Sequence[Record]) -> None:
        """Applies what was just written here to the version on trial. A version that fails at that is on trial no more.

        Call it inside ``ServableHandle.writing()``.
        """
        contender = self._handle.contender
        if contender is None or not records:
            return
        try:
            await self._replay.apply(contender.servable, iter(records), 0)
        except Exception as exc:  # noqa: BLE001 - whatever it is: a trial must not cost a write
            self._end_trial(contender.servable, exc)

    def _end_trial(self, servable: Servable, why: Exception) -> None:
        logger.error("challenger_failed", extra={"version": servable.version}, exc_info=why)
        self._metrics.models.trial_failures.inc()
        self._handle.challenge(None)

    async def reach(self, seq: int, timeout_s: float) -> None:
        """Waits until everything up to ``seq`` is applied here.

        Raises:
            ModelUnavailable: nothing serves.
            UnknownRecord: there is no such record.
            NotReachedYet: that takes longer than ``timeout_s``.
        """
        if self._reached >= seq:
            return
        last = await to_thread.run_sync(self._journal.last_seq)
        if last < seq:
            raise UnknownRecord(seq, last)
        with anyio.move_on_after(timeout_s):
            while self._reached < seq:
                try:
                    await self.catch_up()
                except StorageUnavailable:
                    logger.debug("journal_not_followed", exc_info=True)
                if self._reached < seq:
                    await anyio.sleep(_PAUSE_S)
        found = self._reached
        if found < seq:
            raise NotReachedYet(seq, found)

    @property
    def _reached(self) -> int:
        """Up to where all records count here, whichever version answers; what was just built may know more than others.

        Raises:
            ModelUnavailable: nothing serves.
        """
        followed = min(self._handle.current.followed, *(servable.followed for servable in self._handle.live))
        return min(followed, self._noted) if self._histories else followed


async def keep_compact(journal: Journal, every_s: float, metrics: Metrics) -> None:
    """Removes void records from the journal every so many seconds, until cancelled. Trouble is logged and counted."""
    while True:
        await anyio.sleep(every_s)
        try:
            removed = await to_thread.run_sync(journal.compact)
        except StorageUnavailable:
            logger.warning("journal_not_compacted", exc_info=True)
            metrics.journal.compactions.labels("failed").inc()
        else:
            metrics.journal.compactions.labels("done").inc()
            metrics.journal.compacted.inc(removed)
            logger.info("journal_compacted", extra={"removed": removed})
