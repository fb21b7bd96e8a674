"""What engines on a device take and find, case by case."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_questions import Case, Matrix, make_question
from service.adapters.candidates import ApproximateEngine, Shown
from service.adapters.exact_scan import Batch, Found, scan
from service.adapters.gpu_engines import Device, DeviceFlat, DeviceGraph
from service.adapters.proven_engine import PROBES, prove
from service.adapters.ranking import exact_scores, longest_row, norms_of
from service.adapters.segments import NONE, Engine, ExactEngine

BYTES = {"gpu-fp16": 2, "gpu-fp32": 4}
"""Of one number, for the engines that read all of them."""
_COMPARED = 8  # queries that are also searched on the processor
_TIMES, _WARM = 30, 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A case: how many queries at once want how many rows; so many each excludes, and this share is hidden from all."""

    batch: int
    k: int
    excluded: int = 0
    hidden: float = 0.0

    def __str__(self) -> str:
        more = [f"{self.excluded} excluded"] * bool(self.excluded) + [f"{self.hidden:.0%} hidden"] * bool(self.hidden)
        return ", ".join([f"batch {self.batch}", f"k {self.k}", *more])


@dataclass(frozen=True, slots=True)
class Measured:
    """What a case took.

    Attributes:
        engine: its name.
        case: what was asked.
        device_us: of the device's part for the batch, the copies of queries and answers included; None = not apart.
        engine_us: until the service has its candidates.
        floor_us: reading what the engine must read from the device's memory once; None = that is not known.
        recall: of some of the queries.
    """

    engine: str
    case: Asked
    device_us: float | None
    engine_us: float
    floor_us: float | None
    recall: float

    @property
    def share_of_floor(self) -> float | None:
        """How near the device comes to reading alone; 1 = it does nothing else."""
        return self.floor_us / self.device_us if self.floor_us and self.device_us else None


def cases(batches: Sequence[int], lengths: Sequence[int]) -> list[Asked]:
    """Every batch with every length, and with exclusions, filters of every strength with the first of both."""
    plain = [Asked(batch, k) for batch in batches for k in lengths]
    excluding = [Asked(batch, lengths[0], excluded=200) for batch in batches]
    return [*plain, *excluding, *(Asked(batches[0], lengths[0], hidden=share) for share in (0.01, 0.1, 0.5, 0.9))]


def floor_us(items: int, d: int, engine: str, bytes_per_s: float) -> float | None:
    """Microseconds to read the whole matrix once; None for engines that do not read all of it."""
    return 1e6 * items * d * BYTES[engine] / bytes_per_s if engine in BYTES else None


def measure_flat(
    matrix: Matrix, device: Device, asked: Sequence[Asked], bytes_per_s: float, rng: np.random.Generator, *, half: bool
) -> Iterator[Measured]:
    """All cases with all rows on the device."""
    name = "gpu-fp16" if half else "gpu-fp32"
    engine = DeviceFlat(matrix, device, ExactEngine(matrix), half=half)
    n, d = matrix.shape
    floor = floor_us(n, d, name, bytes_per_s)
    for case in asked:
        batch = make_batch(case, matrix, rng)
        fetched = min(case.k + case.excluded + 16, n - batch.hidden.size)
        device_us = median_us(partial(engine.fetch, batch.queries, fetched, Shown.but(n, batch.hidden)))
        yield Measured(name, case, device_us, _engine_us(engine, batch), floor, recall(matrix, batch, engine))


def measure_graph(
    matrix: Matrix, device: Device, asked: Sequence[Asked], wanted: float, rng: np.random.Generator
) -> tuple[str, Iterator[Measured]]:
    """What it took to make and to prove a graph, and all cases with it; none where it is refused."""
    exact = ExactEngine(matrix)
    started = time.perf_counter()
    graph = DeviceGraph(matrix, device)
    built = time.perf_counter()
    proof = prove(graph, matrix, make_question(Case(1, PROBES), matrix, [], rng).vectors, wanted)
    said = f"graph made in {built - started:.1f} s, proven in {time.perf_counter() - built:.1f} s: "
    said += f"efforts {proof.efforts or 'none, refused'}, recall {proof.recall:.4f}"
    engine = ApproximateEngine(matrix, graph, exact, proof.efforts)

    def measured() -> Iterator[Measured]:
        for case in asked if proof.efforts else ():
            batch = make_batch(case, matrix, rng)
            found = recall(matrix, batch, engine)
            yield Measured("gpu-cagra", case, None, _engine_us(engine, batch), None, found)

    return said, measured()


def make_batch(case: Asked, matrix: Matrix, rng: np.random.Generator) -> Batch:
    """A batch as the index makes it."""
    n = len(matrix)
    queries = make_question(Case(case.k, case.batch), matrix, [], rng).vectors
    hidden = np.sort(rng.choice(n, int(case.hidden * n), replace=False)) if case.hidden else NONE
    each = [rng.choice(n, min(case.excluded, n // 2), replace=False) if case.excluded else NONE for _ in queries]
    flat, by = np.concatenate(each), np.repeat(np.arange(len(each)), [len(rows) for rows in each])
    order = np.argsort(flat, kind="stable")
    return Batch(queries, case.k, norms_of(queries), longest_row(matrix), hidden, flat[order], by[order])


def recall(matrix: Matrix, batch: Batch, engine: Engine) -> float:
    """Share of the exact best that were found, of the first queries of a batch."""
    found, exact = engine.find(batch), scan(matrix, batch)
    shares = []
    for number, query in enumerate(batch.queries[:_COMPARED]):
        scores = np.sort(_scores(matrix, exact, number, query))[::-1][: batch.k]
        shares.append(float((_scores(matrix, found, number, query) >= scores[-1]).sum() / len(scores)))
    return float(np.mean(np.minimum(shares, 1)))


def median_us(ask: Callable[[], object]) -> float:
    """The median time of a call, microseconds, after some that are not counted."""
    taken = []
    for _ in range(_WARM + _TIMES):
        started = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - started)
    return 1e6 * float(np.median(taken[_WARM:]))


def _engine_us(engine: Engine, batch: Batch) -> float:
    return median_us(lambda: engine.find(batch))


def _scores(matrix: Matrix, found: Found, number: int, query: Matrix) -> NDArray[np.float64]:
    return exact_scores(matrix[found.rows[found.queries == number]], query)
