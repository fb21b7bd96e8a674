"""Searches of many requests, carried out together: what waits at the same moment shares one pass over the index.

A search that comes alone begins at once; while it runs, others gather and make the next batch. So nobody waits for a
batch to fill, and the busier it is, the larger the batches.

Batches run on threads of their own. Where one is expected to take less time than handing it over and fighting for
Python's lock would cost, it runs on the event loop itself, once everything that has come by then is gathered.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from weakref import WeakKeyDictionary

from service.errors import Overloaded
from service.list_instruments import SearchMetrics
from service.pace import Pace
from service.ports import VectorIndex
from service.queries import Hits, Query

logger = logging.getLogger(__name__)

_MOST_TOGETHER = 32

_Answer = asyncio.Future[Hits]
_Job = tuple[VectorIndex, Query, _Answer]
_Results = Sequence[Hits] | Exception


class Searches:
    """Runs searches, on threads of its own where they take long; used on one event loop.

    Args:
        metrics: of searches.
        threads: how many batches run at the same time.
        most_waiting: how many searches may wait.
        deadline_s: how long a search may take, waiting included.
        at_once_s: what is expected to take no longer is carried out on the event loop; 0 = nothing is.
    """

    def __init__(
        self,
        metrics: SearchMetrics,
        *,
        threads: int = 1,
        most_waiting: int = 200,
        deadline_s: float = 30.0,
        at_once_s: float = 0.0,
    ) -> None:
        self._metrics = metrics
        self._most_waiting = most_waiting
        self._deadline_s = deadline_s
        self._at_once_s = at_once_s
        self._paces: WeakKeyDictionary[VectorIndex, Pace] = WeakKeyDictionary()
        self._gathered: list[_Job] = []  # to be searched on the event loop
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"search-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return self._waiting.qsize()

    async def find(self, index: VectorIndex, query: Query) -> Hits:
        """What the index finds.

        Raises:
            Overloaded: so many wait already.
            TimeoutError: it took too long.
        """
        known = self.recall(index, query)
        return await self.search(index, query) if known is None else known

    def recall(self, index: VectorIndex, query: Query) -> Hits | None:
        """What the index knows without a search; None where it must be searched."""
        known = index.recall(query)
        self._metrics.recalled(known=known is not None)
        return known

    async def search(self, index: VectorIndex, query: Query) -> Hits:
        """What the index finds when it is searched.

        Raises:
            Overloaded: so many wait already.
            TimeoutError: it took too long.
        """
        waiting = self._waiting.qsize() + len(self._gathered)
        if waiting >= self._most_waiting:
            raise Overloaded(waiting)
        loop = asyncio.get_running_loop()
        answer: _Answer = loop.create_future()
        self._gathered.append((index, query, answer))
        if len(self._gathered) == 1:
            loop.call_soon(self._begin)
        return await answer

    def _pace(self, index: VectorIndex) -> Pace:
        pace = self._paces.get(index)
        if pace is None:
            pace = self._paces[index] = Pace()
        return pace

    def _begin(self) -> None:
        """Searches for some of those that are gathered, if that takes no time; then it is others' turn."""
        gathered, index = self._gathered, self._gathered[0][0]
        same = [job for job in gathered if job[0] is index]
        batch = same[:_MOST_TOGETHER]
        if not self._at_once_s or self._pace(index).expected_s(len(batch)) > self._at_once_s:
            self._gathered = []
            self._hand_over(gathered)
            return
        self._gathered = same[_MOST_TOGETHER:] + [job for job in gathered if job[0] is not index]
        if self._gathered:
            asyncio.get_running_loop().call_soon(self._begin)
        if batch := [job for job in batch if not job[2].done()]:
            started = time.perf_counter()
            found = _found(index, batch)
            self._deliver(index, batch, found, time.perf_counter() - started)

    def _hand_over(self, jobs: Sequence[_Job]) -> None:
        limit = _Limit([answer for _, _, answer in jobs], self._deadline_s)
        for _, _, answer in jobs:
            answer.add_done_callback(limit.one_less)
        for job in jobs:
            self._waiting.put(job)

    def close(self) -> None:
        """Ends the threads; what waits is not answered any more."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        left: deque[_Job] = deque()  # gathered, but for another index than the batch before
        while True:
            job = left.popleft() if left else self._waiting.get()
            if job is None:
                return
            batch = [job]
            while len(batch) < _MOST_TOGETHER and not left:
                try:
                    other = self._waiting.get_nowait()
                except Empty:
                    break
                if other is None:
                    self._waiting.put(None)  # after this batch
                    break
                (batch if other[0] is job[0] else left).append(other)
            self._search(job[0], batch)

    def _search(self, index: VectorIndex, gathered: Sequence[_Job]) -> None:
        batch = [job for job in gathered if not job[2].done()]  # nobody waits for the others any more
        if not batch:
            return
        started = time.thread_time()  # as long as it waits for Python's lock it does not work
        found = _found(index, batch)
        seconds = time.thread_time() - started
        try:
            batch[0][2].get_loop().call_soon_threadsafe(self._deliver, index, batch, found, seconds)
        except RuntimeError:
            logger.debug("search_answer_late", exc_info=True)  # the loop has ended meanwhile

    def _deliver(self, index: VectorIndex, batch: Sequence[_Job], found: _Results, seconds: float) -> None:
        self._metrics.batch.observe(len(batch))
        if not isinstance(found, Exception):
            self._pace(index).note(len(batch), seconds)
        for number, (_, _, answer) in enumerate(batch):
            if answer.done():  # whoever asked is gone
                continue
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found[number])


def _found(index: VectorIndex, batch: Sequence[_Job]) -> _Results:
    try:
        return index.search_many([query for _, query, _ in batch])
    except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who asked
        return exc


class _Limit:
    """How long those who came together wait at most: a timer for each would cost more than some searches."""

    def __init__(self, answers: Sequence[_Answer], seconds: float) -> None:
        self._waiting = len(answers)
        self._timer = answers[0].get_loop().call_later(seconds, _give_up, answers)

    def one_less(self, _: _Answer) -> None:
        """Notes that one of them waits no longer."""
        self._waiting -= 1
        if not self._waiting:
            self._timer.cancel()


def _give_up(answers: Sequence[_Answer]) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(TimeoutError())
