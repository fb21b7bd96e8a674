"""What approximate engines miss while they serve: a small share of searches is done again, exactly, at leisure."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from service.adapters.background import Workers
from service.adapters.candidates import part
from service.adapters.exact_scan import Batch, Found, Numbers, scan
from service.adapters.ranking import exact_scores
from service.adapters.segments import Engine
from service.domain import Matrix

logger = logging.getLogger(__name__)

_MOST_WAITING = 8
_REST = 10


@dataclass(frozen=True, slots=True)
class _Sample:
    """One search, on the rows and with the exclusions it had, and what was found."""

    matrix: Matrix
    batch: Batch
    rows: Numbers


class LiveRecall:
    """Compares one of ``every`` searches with an exact one, on a thread of its own.

    After each it rests ten times as long as that took. No search waits for that: what finds the queue full is not
    compared. The thread ends when the queue is empty.

    Args:
        every: 0 = none is compared.
        told: is given the recall of each search compared.
        workers: run the thread.
        chance: draws them.
    """

    def __init__(
        self,
        every: int,
        told: Callable[[float], object],
        workers: Workers,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._share = 1 / every if every else 0.0
        self._told = told
        self._workers = workers
        self._chance = chance
        self._waiting: deque[_Sample] = deque()
        self._lock = threading.Lock()
        self._comparing: threading.Thread | None = None

    def watched(self, engine: Engine, matrix: Matrix) -> Engine:
        """The engine, of whose searches some are compared."""
        return _Watched(engine, matrix, self) if self._share else engine

    def sample(self, matrix: Matrix, batch: Batch, found: Found) -> None:
        """Draws whether, and which of a batch's queries, is compared; returns at once."""
        b = len(batch.queries)
        drawn = self._chance() / min(1.0, self._share * b)
        if drawn >= 1 or len(self._waiting) >= _MOST_WAITING:
            return
        number = int(drawn * b)
        sample = _Sample(matrix, part(batch, np.array([number])), found.rows[found.queries == number])
        with self._lock:
            self._waiting.append(sample)
            if self._comparing is None:
                self._comparing = self._workers.start(self._compare, "index-comparing")

    def settle(self) -> None:
        """Waits until everything drawn is compared."""
        while (comparing := self._comparing) is not None:
            comparing.join()

    def _compare(self) -> None:
        while sample := self._next():
            started = time.perf_counter()
            try:
                self._told(_recall(sample))
            except Exception:  # whatever it is: nobody waits for it, and the next one may go well
                logger.exception("index_recall_failed")
            self._workers.rest(_REST * (time.perf_counter() - started))

    def _next(self) -> _Sample | None:
        """The next one; None where there is no other, and the thread ends."""
        with self._lock:
            if self._waiting and not self._workers.ended:
                return self._waiting.popleft()
            self._comparing = None
            return None


class _Watched:
    """An engine that lets its searches be compared."""

    def __init__(self, engine: Engine, matrix: Matrix, recall: LiveRecall) -> None:
        self._engine = engine
        self._matrix = matrix
        self._recall = recall

    def find(self, batch: Batch) -> Found:
        """What the engine finds."""
        found = self._engine.find(batch)
        self._recall.sample(self._matrix, batch, found)
        return found


def _recall(sample: _Sample) -> float:
    """Share of the exact best that were found; equal scores are as good; 1 where there is nothing to find."""
    batch, query = sample.batch, sample.batch.queries[0]
    exact = np.sort(exact_scores(sample.matrix[scan(sample.matrix, batch).rows], query))[::-1]
    length = min(batch.k, len(exact))
    if not length:
        return 1.0
    found = exact_scores(sample.matrix[sample.rows], query)
    return min(length, int((found >= exact[length - 1]).sum())) / length
