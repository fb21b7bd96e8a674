"""Search engines on one set of vectors, in a process of its own: prints what each took, and found, as JSON.

    python -m benchmarks.search_cases --items 100000 --d 64

Started by ``benchmarks.index``, which sets the threads of the libraries that read them when they are loaded. Engines
take turns, so that what else the machine does meets all of them alike, and a ratio is that of neighbours in time.
"""

import argparse
import gc
import itertools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.search_checks import check
from benchmarks.search_engines import FLOOR, REFERENCE, Candidate, Kind, kinds
from benchmarks.search_questions import Case, Matrix, Question, answer, make_names, make_question, make_vectors

_QUERIES = 32  # different ones in a case, as far as they make whole batches
_WITH_ALLOWED = 4  # different ones where each has many names
_BURST_S = 0.005  # an engine's turn is so long at least, or one question
_MOST_IN_TURN = 20
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 100

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(slots=True)
class _Timed:
    """Seconds of every question, and the median of each turn."""

    samples: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures one set of vectors; returns the exit status."""
    args = _arguments(argv)
    rng = np.random.default_rng(args.seed)
    matrix, names = make_vectors(args.items, args.d, rng), make_names(args.items)
    chosen = {name: kind for name, kind in kinds().items() if not kind.slow or args.items <= args.graphs_up_to}
    engines, built = _build(chosen, matrix, names, args.threads)
    measured = []
    for case in _cases(args):
        progress.print(f"  {case}")
        measured.append(_measure(case, chosen, engines, matrix, names, rng, args.seconds))
    print(json.dumps({"items": args.items, "d": args.d, "engines": built, "cases": measured}))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_cases", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--d", type=int, default=64)
    for name, kind, default in (("k", int, [20]), ("batch", int, [1]), ("exclude", int, []), ("filter", float, [])):
        parser.add_argument(f"--{name}", type=kind, nargs="*", default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--graphs-up-to", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _cases(args: argparse.Namespace) -> Iterator[Case]:
    """Every k with every batch; exclusions with the first k and two batches, filters with the first of both."""
    for k, batch in itertools.product(args.k, args.batch):
        yield Case(k, batch)
    for exclude, batch in itertools.product(args.exclude, args.batch[:2]):
        if 0 < exclude < args.items:
            yield Case(args.k[0], batch, exclude=exclude)
    for share in args.filter:
        if share < 1:
            yield Case(args.k[0], args.batch[0], share=share)


def _build(
    chosen: Mapping[str, Kind], matrix: Matrix, names: Sequence[str], threads: int
) -> tuple[dict[str, Candidate], dict[str, Any]]:
    engines: dict[str, Candidate] = {}
    built: dict[str, Any] = {}
    for name, kind in chosen.items():
        gc.collect()
        before, started = _resident_mib(), time.perf_counter()
        engines[name] = kind.make(matrix, names, threads)
        seconds = time.perf_counter() - started
        gc.collect()
        after = _resident_mib()
        own = matrix.nbytes / 2**20 if kind.keeps else 0.0
        mib = None if before is None or after is None else own + max(0.0, after - before)
        built[name] = {"seconds_to_build": seconds, "mib": mib}
        progress.print(f"  made {name} in {seconds:.1f} s")
    return engines, built


def _measure(
    case: Case,
    chosen: Mapping[str, Kind],
    engines: Mapping[str, Candidate],
    matrix: Matrix,
    names: Sequence[str],
    rng: np.random.Generator,
    seconds: float,
) -> dict[str, Any]:
    """What each engine found and took, for one case."""
    wanted = max(1, (_QUERIES if case.share == 1 else _WITH_ALLOWED) // case.batch)
    questions = [make_question(case, matrix, names, rng) for _ in range(wanted)]
    right = [answer(matrix, question) for question in questions]
    able = {name: engines[name] for name, kind in chosen.items() if kind.answers(questions[0])}
    checks = {name: check(matrix, questions, right, engine, chosen[name].promise) for name, engine in able.items()}
    timed = _take_turns(able, questions, seconds)
    reference, floor = timed[REFERENCE], timed.get(FLOOR)
    rows = []
    for name, times in timed.items():
        each = 1e6 * np.array(times.samples) / case.batch
        rows.append(
            {
                "engine": name,
                "us_median": float(np.median(each)),
                "us_p99": float(np.percentile(each, 99)),
                "samples": len(each),
                "to_reference": _ratio(times, reference),
                "to_floor": None if floor is None else _ratio(times, floor),
                **asdict(checks[name]),
            }
        )
    return {**asdict(case), "rounds": len(reference.turns), "measured": rows}


def _take_turns(
    engines: Mapping[str, Candidate], questions: Sequence[Question], seconds: float
) -> Mapping[str, _Timed]:
    """Rounds in which every engine has a turn, beginning with another one each time."""
    timed = {name: _Timed() for name in engines}
    in_turn = {name: _questions_in_turn(engine, questions[0]) for name, engine in engines.items()}
    order = list(engines)
    end = time.perf_counter() + seconds
    for number in range(_MOST_ROUNDS):
        if number >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        for name in order:
            taken = []
            for turn in range(in_turn[name]):
                question = questions[(number * in_turn[name] + turn) % len(questions)]
                started = time.perf_counter()
                engines[name].ask(question)
                taken.append(time.perf_counter() - started)
            timed[name].samples += taken
            timed[name].turns.append(float(np.median(taken)))
        order = order[1:] + order[:1]
    return timed


def _questions_in_turn(engine: Candidate, question: Question) -> int:
    started = time.perf_counter()
    engine.ask(question)
    return max(1, min(_MOST_IN_TURN, int(_BURST_S / (time.perf_counter() - started))))


def _ratio(times: _Timed, to: _Timed) -> float:
    return float(np.median(np.array(times.turns) / np.array(to.turns)))


def _resident_mib() -> float | None:
    """Memory of this process now, MiB; None elsewhere than on Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    raise SystemExit(main())
