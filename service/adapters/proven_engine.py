"""An approximate engine that is used once it has shown its recall on what is really asked, and that it is quicker."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.adapters.background import Ended, Workers
from service.adapters.candidates import LENGTHS, ApproximateEngine, Proposer, Shown
from service.adapters.exact_scan import Batch, Found, scan
from service.adapters.ranking import exact_scores, longest_row, norms_of
from service.adapters.segments import NONE, Engine
from service.domain import Matrix

logger = logging.getLogger(__name__)

PROBES = 256
"""Different queries that recall is measured with."""
_TOGETHER = 32  # of them, in one exact search
_TIMED = 31  # searches with either engine ...
_SIZES = (1, 16)  # ... of so many queries each, as the service has them: at rest, and when it is busy


@dataclass(frozen=True, slots=True)
class Proof:
    """What an index has shown.

    Attributes:
        efforts: the least that reaches the recall wanted, for each of ``LENGTHS``, as far as there is one.
        recall: of lists of the first length with its effort; with the greatest one where none reaches it.
    """

    efforts: tuple[int, ...]
    recall: float


class ProvenEngine:
    """Searches exactly, until the index that is made meanwhile has shown that it may be used.

    The first ``probes`` different queries are kept; with these, and on a thread of its own, the index is measured.
    Lists of a length for which it does not reach the recall, or is no quicker, stay with the exact engine.

    Args:
        matrix: (n, d) float32.
        exact: searches it exactly.
        make: makes the index of its rows; may take minutes.
        wanted: recall, of lists of each of ``LENGTHS``.
        serve: is given the engine that has shown its recall, and the proof; what it gives back serves from then on.
        workers: run the thread.
        probes: how many queries to measure with.
        clock: seconds; only differences matter.
    """

    def __init__(
        self,
        matrix: Matrix,
        exact: Engine,
        make: Callable[[Matrix], Proposer],
        *,
        wanted: float,
        serve: Callable[[Engine, Proof], Engine] = lambda engine, _: engine,
        workers: Workers,
        probes: int = PROBES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._matrix = matrix
        self._engine = self._exact = exact
        self._make = make
        self._wanted = wanted
        self._serve = serve
        self._workers = workers
        self._clock = clock
        self._missing = probes
        self._gathered: dict[bytes, Matrix] = {}  # query → itself, (1, d)
        self._gathering = threading.Lock()
        self._proving: threading.Thread | None = None

    def find(self, batch: Batch) -> Found:
        """What the engine in use finds."""
        if self._missing:
            self._gather(batch.queries)
        return self._engine.find(batch)

    def settle(self) -> None:
        """Waits until it is decided, where it is being decided."""
        if self._proving:
            self._proving.join()

    def _gather(self, queries: Matrix) -> None:
        with self._gathering:
            for number in range(min(len(queries), self._missing)):
                query = queries[number : number + 1].copy()
                if self._gathered.setdefault(query.tobytes(), query) is query:
                    self._missing -= 1
            if self._gathered and not self._missing:
                probes = np.concatenate(list(self._gathered.values()))
                self._gathered.clear()
                self._proving = self._workers.start(partial(self._decide, probes), "index-proving")

    def _decide(self, probes: Matrix) -> None:
        try:
            started = self._clock()
            proposer = self._make(self._matrix)
            seconds = self._clock() - started
            proof = prove(proposer, self._matrix, probes, self._wanted, self._workers.check)
            efforts = self._paying(proposer, proof.efforts, probes)
        except Ended:
            return
        except Exception:  # whatever it is: the exact engine searches on
            logger.exception("index_engine_refused")
            return
        proof = Proof(efforts, proof.recall)
        facts = {"efforts": efforts, "recall": proof.recall, "wanted": self._wanted, "seconds": round(seconds, 3)}
        logger.info("index_engine_proven" if efforts else "index_engine_refused", extra=facts)
        if efforts:
            self._engine = self._serve(ApproximateEngine(self._matrix, proposer, self._exact, efforts), proof)

    def _paying(self, proposer: Proposer, efforts: tuple[int, ...], probes: Matrix) -> tuple[int, ...]:
        """The first efforts, as far as they take less time than the exact engine."""
        engine = ApproximateEngine(self._matrix, proposer, self._exact, efforts)
        lengths = LENGTHS[: len(efforts)]
        slow = (number for number, k in enumerate(lengths) if not self._is_quicker(engine, k, probes))
        return efforts[: next(slow, len(efforts))]

    def _is_quicker(self, engine: Engine, k: int, probes: Matrix) -> bool:
        """Whether searches take less than exact ones, single ones and batches, by the median; they take turns."""
        longest = longest_row(self._matrix)
        for size in _SIZES:
            taken: tuple[list[float], list[float]] = ([], [])
            for start in range(0, min(len(probes), _TIMED * size) - size + 1, size):
                queries = probes[start : start + size]
                batch = Batch(queries, k, norms_of(queries), longest, NONE, NONE, NONE)
                for each, times in zip((self._exact, engine), taken, strict=True):
                    started = self._clock()
                    each.find(batch)
                    times.append(self._clock() - started)
            if taken[0] and not np.median(taken[1]) < np.median(taken[0]):
                return False
        return True


def prove(
    proposer: Proposer, matrix: Matrix, probes: Matrix, wanted: float, check: Callable[[], object] = lambda: None
) -> Proof:
    """Raises the effort until the recall is reached, for lists of each length.

    Args:
        proposer: an index of the rows.
        matrix: (n, d) float32.
        probes: queries (b, d) float32.
        wanted: share of the exact best that must be among those proposed, on average.
        check: called between steps; raises where nobody wants to know any more.
    """
    least = _least_scores(matrix, probes, check)
    efforts: list[int] = []
    first = 0.0
    for length, scores in zip(LENGTHS, least, strict=True):
        for effort in proposer.efforts:
            if efforts and effort < efforts[-1]:
                continue
            check()
            recall = _recall(proposer, effort, matrix, probes, length, scores)
            if length == LENGTHS[0]:
                first = recall
            if recall >= wanted:
                efforts.append(effort)
                break
        else:
            break
    return Proof(tuple(efforts), first)


def _least_scores(matrix: Matrix, probes: Matrix, check: Callable[[], object]) -> Sequence[Matrix]:
    """For each length the exact score of the last in a list of it, (b,)."""
    found, longest = [], longest_row(matrix)
    for start in range(0, len(probes), _TOGETHER):
        check()
        queries = probes[start : start + _TOGETHER]
        batch = Batch(queries, LENGTHS[-1], norms_of(queries), longest, NONE, NONE, NONE)
        rows = scan(matrix, batch)
        for number, query in enumerate(queries):
            scores = np.sort(exact_scores(matrix[rows.rows[rows.queries == number]], query))[::-1]
            found.append([scores[min(length, len(scores)) - 1] for length in LENGTHS])
    return list(np.array(found).T)


def _recall(proposer: Proposer, effort: int, matrix: Matrix, probes: Matrix, length: int, least: Matrix) -> float:
    length = min(length, len(matrix))
    shown = Shown(len(matrix))
    reached = 0
    for rows, query, score in zip(proposer.propose(probes, length, effort, shown), probes, least, strict=True):
        mine = np.unique(rows[shown.has(rows)])
        reached += min(length, int((exact_scores(matrix[mine], query) >= score).sum()))
    return reached / (length * len(probes))
