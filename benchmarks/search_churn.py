"""Changes of an index and searches meanwhile, in a process of its own; prints what was seen as JSON.

    python -m benchmarks.search_churn --items 100000 --d 64

Started by ``benchmarks.index --churn``. The reference is FAISS's IndexFlatIP under ids, with a lock, as it may not be
searched while it is changed.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import faiss
import numpy as np

from benchmarks.search_engines import int8
from benchmarks.search_questions import Matrix, make_names, make_vectors
from service.adapters.segmented_index import SegmentedIndex

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper

_CHUNK = 256
_PROBES = 200


class Changing(Protocol):
    """An index of rows that can be changed; synchronous, thread-safe."""

    def upsert(self, rows: Sequence[int], vectors: Matrix) -> None:
        """Adds or replaces rows."""
        ...

    def remove(self, rows: Sequence[int]) -> None:
        """Removes rows."""
        ...

    def search(self, query: Matrix, k: int) -> Sequence[int]:
        """The best rows for a query (d,)."""
        ...


class Ours:
    """A SegmentedIndex with the service's engine."""

    def __init__(self, matrix: Matrix, threads: int) -> None:
        self._index = SegmentedIndex(make_names(len(matrix)), matrix, make_engine=int8(threads))

    def upsert(self, rows: Sequence[int], vectors: Matrix) -> None:
        """Adds or replaces rows."""
        self._index.upsert([f"item-{row:09d}" for row in rows], vectors)

    def remove(self, rows: Sequence[int]) -> None:
        """Removes rows."""
        self._index.remove([f"item-{row:09d}" for row in rows])

    def search(self, query: Matrix, k: int) -> Sequence[int]:
        """The best rows for a query (d,)."""
        return [int(hit.item_id.rpartition("-")[2]) for hit in self._index.search(query, k)]


class FaissFlat:
    """IndexFlatIP under ids."""

    def __init__(self, matrix: Matrix, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._index = _engine.IndexIDMap2(_engine.IndexFlatIP(matrix.shape[1]))
        self._index.add_with_ids(matrix, np.arange(len(matrix)))

    def upsert(self, rows: Sequence[int], vectors: Matrix) -> None:
        """Adds or replaces rows."""
        ids = np.array(rows, dtype=np.int64)
        with self._lock:
            self._index.remove_ids(ids)
            self._index.add_with_ids(vectors, ids)

    def remove(self, rows: Sequence[int]) -> None:
        """Removes rows."""
        with self._lock:
            self._index.remove_ids(np.array(rows, dtype=np.int64))

    def search(self, query: Matrix, k: int) -> Sequence[int]:
        """The best rows for a query (d,)."""
        _engine.omp_set_num_threads(self._threads)  # holds for the calling thread only
        with self._lock:
            found: list[int] = self._index.search(query[None], k)[1][0].tolist()
        return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measures both; returns the exit status (1 where a new item was not found at once)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_churn", description=__doc__.splitlines()[0])
    for name, kind, default in (("items", int, 100_000), ("d", int, 64), ("k", int, 20), ("threads", int, 1)):
        parser.add_argument(f"--{name}", type=kind, default=default)
    parser.add_argument("--seconds", type=float, default=4.0, help="each part takes about so long")
    args = parser.parse_args(argv)
    matrix = make_vectors(args.items, args.d, np.random.default_rng(0))
    made: Mapping[str, Callable[[Matrix, int], Changing]] = {"ours, int8": Ours, "FAISS flat": FaissFlat}
    churn = [{"engine": name, **_measure(make(matrix, args.threads), matrix, args)} for name, make in made.items()]
    print(json.dumps({"items": args.items, "d": args.d, "churn": churn}))
    return int(any(row["not_found"] for row in churn))


def _measure(index: Changing, matrix: Matrix, args: argparse.Namespace) -> dict[str, Any]:
    """Searches at rest; then items are replaced, half of them at most removed, and new ones looked for."""
    rng, n = np.random.default_rng(1), len(matrix)
    rest: list[float] = []
    with _searching(index, matrix, args.k, rest):
        time.sleep(args.seconds)
    meanwhile: list[float] = []
    with _searching(index, matrix, args.k, meanwhile):
        single = _rate(lambda number: index.upsert([number % n], _some(matrix, 1, rng)), args.seconds)
        chunks = _rate(lambda number: index.upsert(_chunk(number, n), _some(matrix, min(n, _CHUNK), rng)), args.seconds)
        removals = _rate(lambda number: index.remove([number]), args.seconds, most=n // 2)
        waits, missed = _probe(index, matrix, rng)
    return {
        "upserts_per_s": single,
        "upserts_per_s_in_256s": _CHUNK * chunks,
        "removals_per_s": removals,
        **_spread("ms_to_found", 1e3, waits),
        **_spread("us_rest", 1e6, rest),
        **_spread("us_meanwhile", 1e6, meanwhile),
        "not_found": missed,
    }


def _rate(change: Callable[[int], None], seconds: float, most: float = float("inf")) -> float:
    """Changes a second, one after the other, numbered from 0."""
    started, number = time.perf_counter(), 0
    while number < most and time.perf_counter() < started + seconds:
        change(number)
        number += 1
    return number / (time.perf_counter() - started)


def _some(matrix: Matrix, count: int, rng: np.random.Generator) -> Matrix:
    return matrix[rng.integers(len(matrix), size=count)]


def _chunk(number: int, n: int) -> list[int]:
    return [row % n for row in range(number * _CHUNK, min(n, _CHUNK) + number * _CHUNK)]


def _probe(index: Changing, matrix: Matrix, rng: np.random.Generator) -> tuple[list[float], int]:
    """Seconds from the call that adds an item until a search has found it, and how many searches did not."""
    waits, missed, n = [], 0, len(matrix)
    longest = float(np.sqrt(np.einsum("ij,ij->i", matrix, matrix).max()))
    for number in range(_PROBES):
        query: Matrix = np.asarray(rng.standard_normal(matrix.shape[1]), dtype=np.float32)
        row, vector = n + number, (2 * longest / float(np.linalg.norm(query))) * query
        started = time.perf_counter()
        index.upsert([row], vector[None])
        found = index.search(query, 1)
        waits.append(time.perf_counter() - started)
        missed += row not in found
        index.remove([row])
    return waits, missed


@contextmanager
def _searching(index: Changing, matrix: Matrix, k: int, seconds: list[float]) -> Iterator[None]:
    """Searches on a thread of its own, one after the other, and writes down how long each took."""
    over = threading.Event()

    def search() -> None:
        number = 0
        while not over.is_set():
            query = matrix[number * 7919 % len(matrix)]
            number += 1
            started = time.perf_counter()
            index.search(query, k)
            seconds.append(time.perf_counter() - started)
            over.wait(0.001)

    thread = threading.Thread(target=search, name="searching")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _spread(name: str, unit: float, seconds: Sequence[float]) -> dict[str, float]:
    times = unit * np.array(seconds)
    return {f"{name}_median": float(np.median(times)), f"{name}_p99": float(np.percentile(times, 99))}


if __name__ == "__main__":
    raise SystemExit(main())
