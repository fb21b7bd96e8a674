"""From how many items on approximate engines pay: what they take to build and to prove, and to answer, beside exact.

    python -m benchmarks.engines
    python -m benchmarks.engines --items 1e6 --engines ivf --recall 0.95

An engine is proven as the service proves it; where it is refused, its best recall is shown.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.search_questions import Case, Matrix, Numbers, make_question, make_vectors
from service.adapters.approximate_engines import Graph, Lists
from service.adapters.candidates import LENGTHS, ApproximateEngine
from service.adapters.exact_scan import Batch
from service.adapters.integer_engine import IntegerEngine
from service.adapters.proven_engine import PROBES, prove
from service.adapters.ranking import longest_row, norms_of
from service.adapters.segments import NONE, Engine

KINDS: dict[str, Callable[..., Any]] = {"ivf": Lists, "hnsw": Graph}
_BATCH = 16
_EXCLUDED = 200
_WIDTH = 120  # also where what is printed goes into a file


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and shows; returns the exit status."""
    args = _arguments(argv)
    table = Table(title=_title(args))
    for name in ("items", "engine", "s to build", "s to prove", "efforts", "recall"):
        table.add_column(name, no_wrap=True)
    for name in ("µs single", "µs of 16", f"µs, {_EXCLUDED} excluded"):
        table.add_column(name, justify="right")
    for items in args.items:
        for row in _measure(items, args):
            table.add_row(*row)
    Console(width=_WIDTH).print(table)
    return 0


def _title(args: argparse.Namespace) -> str:
    return f"d = {args.d}, k = {LENGTHS[0]}, recall of {args.recall} wanted, µs a query, medians"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__.splitlines()[0])
    whole = lambda text: [int(float(number)) for number in text.split(",")]  # noqa: E731
    parser.add_argument("--items", type=whole, default=[10_000, 20_000, 50_000, 100_000], help="default 1e4,…,1e5")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(KINDS), help="default ivf,hnsw")
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--recall", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if unknown := set(args.engines) - set(KINDS):
        parser.error(f"--engines: expected some of {', '.join(KINDS)}, found {', '.join(sorted(unknown))}")
    return args


def _measure(items: int, args: argparse.Namespace) -> Iterator[list[str]]:
    """A row for the exact engine, and one for each other."""
    rng = np.random.default_rng(args.seed)
    matrix = make_vectors(items, args.d, rng)
    queries = make_question(Case(LENGTHS[0], PROBES), matrix, [], rng).vectors
    exact = IntegerEngine(matrix, threads=1)
    yield [f"{items:,}", "exact", "", "", "", "", *_times(exact, matrix, queries, rng)]
    for name in args.engines:
        gc.collect()
        started = time.perf_counter()
        index = KINDS[name](matrix)
        built = time.perf_counter()
        proof = prove(index, matrix, queries, args.recall)
        took = [f"{built - started:.1f}", f"{time.perf_counter() - built:.1f}"]
        shown = [" ".join(map(str, proof.efforts)) or "refused", f"{proof.recall:.4f}"]
        engine = ApproximateEngine(matrix, index, exact, proof.efforts)
        times = _times(engine, matrix, queries, rng) if proof.efforts else ["", "", ""]
        yield [f"{items:,}", name, *took, *shown, *times]


def _times(engine: Engine, matrix: Matrix, queries: Matrix, rng: np.random.Generator) -> list[str]:
    """Of single queries, of batches, and of single ones that exclude some."""
    excluded = np.sort(rng.choice(len(matrix), min(_EXCLUDED, len(matrix) // 2), replace=False))
    longest = longest_row(matrix)
    return [
        f"{_median_us(engine, [_batch(queries[n : n + size], longest, rows) for n in range(0, PROBES, size)]):.0f}"
        for size, rows in ((1, NONE), (_BATCH, NONE), (1, excluded))
    ]


def _median_us(engine: Engine, batches: Sequence[Batch]) -> float:
    """A query, by the median over batches."""
    taken = []
    for batch in batches:
        started = time.perf_counter()
        engine.find(batch)
        taken.append((time.perf_counter() - started) / len(batch.queries))
    return 1e6 * float(np.median(taken))


def _batch(queries: Matrix, longest: float, excluded: Numbers) -> Batch:
    by = np.zeros(len(excluded), dtype=np.int64)
    return Batch(queries, LENGTHS[0], norms_of(queries), longest, NONE, excluded, by)


if __name__ == "__main__":
    raise SystemExit(main())
