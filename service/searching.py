"""Searches of many requests, carried out together: what waits at the same moment shares one pass over the index.

A search that comes alone begins at once; while it runs, others gather and make the next batch. So nobody waits for a
batch to fill, and the busier it is, the larger the batches.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from service.domain import Hit, Query
from service.errors import Overloaded
from service.instruments import SearchMetrics
from service.ports import VectorIndex

logger = logging.getLogger(__name__)

_MOST_TOGETHER = 16

_Answer = asyncio.Future[list[Hit]]
_Job = tuple[VectorIndex, Query, _Answer]


class Searches:
    """Runs searches on threads of its own; used on one event loop.

    Args:
        metrics: of searches.
        threads: how many batches run at the same time.
        most_waiting: how many searches may wait.
        deadline_s: how long a search may take, waiting included.
    """

    def __init__(
        self, metrics: SearchMetrics, *, threads: int = 1, most_waiting: int = 200, deadline_s: float = 30.0
    ) -> None:
        self._metrics = metrics
        self._most_waiting = most_waiting
        self._deadline_s = deadline_s
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

    async def find(self, index: VectorIndex, query: Query) -> list[Hit]:
        """What the index finds.

        Raises:
            Overloaded: so many wait already.
            TimeoutError: it took too long.
        """
        known = index.recall(query)
        self._metrics.recalled(known=known is not None)
        if known is not None:
            return known
        waiting = self._waiting.qsize()
        if waiting >= self._most_waiting:
            raise Overloaded(waiting)
        loop = asyncio.get_running_loop()
        answer: _Answer = loop.create_future()
        limit = loop.call_later(self._deadline_s, _give_up, answer)
        self._waiting.put((index, query, answer))
        try:
            return await answer
        finally:
            limit.cancel()

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
        found: Sequence[list[Hit]] | Exception
        try:
            found = index.search_many([query for _, query, _ in batch])
        except Exception as exc:  # noqa: BLE001 - whatever it is, it belongs to those who asked
            found = exc
        answers = [answer for _, _, answer in batch]
        self._metrics.batch.observe(len(batch))
        try:
            answers[0].get_loop().call_soon_threadsafe(_deliver, answers, found)
        except RuntimeError:
            logger.debug("search_answer_late", exc_info=True)  # the loop has ended meanwhile


def _give_up(answer: _Answer) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())


def _deliver(answers: Sequence[_Answer], found: Sequence[list[Hit]] | Exception) -> None:
    for number, answer in enumerate(answers):
        if answer.done():  # whoever asked is gone
            continue
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found[number])
