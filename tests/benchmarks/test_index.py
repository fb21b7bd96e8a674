"""``python -m benchmarks.index``: that it runs, checks answers and keeps what it measured; no time is judged."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.search_checks import check
from benchmarks.search_engines import REFERENCE, Candidate, kinds
from benchmarks.search_plot import draw
from benchmarks.search_questions import Case, Question, answer, make_names, make_question, make_vectors
from benchmarks.search_report import wrong_answers

ROOT = Path(__file__).parents[2]
CASES = [Case(5, 1), Case(20, 7), Case(5, 3, exclude=100), Case(5, 1, share=0.05), Case(5, 2, share=0.7)]


class Shifted:
    """Answers as another one does, but for the best item of every query."""

    def __init__(self, engine: Candidate) -> None:
        self._engine = engine

    def ask(self, question: Question) -> Any:
        """One more, so that enough are left."""
        return self._engine.ask(replace(question, k=question.k + 1))

    def rows(self, found: Any) -> Sequence[Any]:
        """Without the first."""
        return [rows[1:] for rows in self._engine.rows(found)]


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command from the root of the repository."""
    command = [sys.executable, "-m", "benchmarks.index", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


def test_index_benchmark_compares_engines(tmp_path: Path) -> None:
    """Each case has a line for each engine with its times, its ratio and its recall; exact ones are right."""
    sizes = ("--items", "300,600", "--d", "8", "--batch", "1,3", "--exclude", "0,50", "--filter", "0.1,1")
    files = ("--json", tmp_path / "deep" / "bench.json", "--plot", tmp_path / "deep" / "bench.png")

    done = bench(*sizes, "--k", 5, "--seconds", 0.05, *files)

    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "deep" / "bench.json").read_text(encoding="utf-8"))
    assert record["threads"] == 1
    assert [measured["items"] for measured in record["measurements"]] == [300, 600]
    for measured in record["measurements"]:
        assert [(case["batch"], case["exclude"], case["share"]) for case in measured["cases"]] == [
            *((1, 0, 1), (3, 0, 1), (1, 50, 1), (3, 50, 1)),
            (1, 0, 0.1),
        ]
        for case in measured["cases"]:
            rows = {row["engine"]: row for row in case["measured"]}
            assert rows[REFERENCE]["to_reference"] == 1
            assert {rows[name]["recall"] for name in ("ours, int8", "ours, exact, churned", "numpy")} == {1}
            assert all(0 < row["us_median"] <= row["us_p99"] and not row["wrong"] for row in rows.values())
    assert "batch of 3, 50 excluded" in done.stdout
    assert (tmp_path / "deep" / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_index_benchmark_measures_changes(tmp_path: Path) -> None:
    """Rates of changes, how long until they are found, and searches meanwhile, ours beside the reference."""
    done = bench("--items", 500, "--d", 8, "--churn", "--seconds", 0.05, "--json", tmp_path / "bench.json")

    assert done.returncode == 0, done.stdout + done.stderr
    (measured,) = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["measurements"]
    assert [row["engine"] for row in measured["churn"]] == ["ours, int8", REFERENCE]
    for row in measured["churn"]:
        assert not row["not_found"]
        assert min(row[name] for name in ("upserts_per_s", "removals_per_s", "us_meanwhile_median")) > 0


def test_index_benchmark_that_cannot_be_made_has_its_line(tmp_path: Path) -> None:
    """No vector has no numbers: status 1, and the other size is measured all the same."""
    done = bench("--items", "300", "--d", "0,8", "--seconds", 0.05, "--json", tmp_path / "bench.json")

    assert done.returncode == 1
    failed, measured = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["measurements"]
    assert "failed" in failed
    assert measured["cases"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_check_accepts_what_exact_engines_find(case: Case) -> None:
    """With ties, exclusions and filters: nothing is wrong, nothing is missed."""
    matrix, names, rng = make_vectors(900, 8, np.random.default_rng(3)), make_names(900), np.random.default_rng(4)
    question = make_question(case, matrix, names, rng)
    right = [answer(matrix, question)]

    for kind in kinds().values():
        if kind.promise in {"ids", "scores"} and kind.answers(question):
            found = check(matrix, [question], right, kind.make(matrix, names, 1), kind.promise)

            assert (found.recall, found.wrong) == (1, "")


@pytest.mark.parametrize("name", ["ours, int8", REFERENCE])
def test_check_tells_a_wrong_answer(name: str) -> None:
    """An engine that misses the best item is wrong by either promise, and its recall says so."""
    matrix, names = make_vectors(900, 8, np.random.default_rng(3)), make_names(900)
    question = make_question(Case(4, 6), matrix, names, np.random.default_rng(4))
    kind = kinds()[name]

    found = check(matrix, [question], [answer(matrix, question)], Shifted(kind.make(matrix, names, 1)), kind.promise)

    assert found.recall is not None
    assert 0.75 <= found.recall < 1  # one of four is missed, unless what follows is its equal
    assert found.wrong.startswith("expected")


def test_wrong_answer_is_reported() -> None:
    """With the vectors, the case and the engine."""
    case = {"k": 4, "batch": 6, "exclude": 0, "share": 1, "measured": [{"engine": "numpy", "wrong": "expected x"}]}

    assert wrong_answers([{"items": 1000, "d": 8, "cases": [case]}]) == [
        "1,000 × 8, k = 4, batch of 6, numpy: expected x"
    ]


def test_plot_of_nothing_is_not_drawn(tmp_path: Path) -> None:
    """Where every measurement failed there is no picture."""
    draw([{"items": 10, "d": 8, "failed": "no memory"}], tmp_path / "bench.png")

    assert not (tmp_path / "bench.png").exists()
