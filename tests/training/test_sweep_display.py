"""What a person sees of a sweep."""

from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from training.contestants import contestants
from training.datasets.synthetic import checkerboard
from training.errors import Diverged
from training.loop import Progress
from training.protocols import rate_pattern
from training.runs import Run, plan
from training.sweep_display import duration, sweep_display


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """i3mrec and popularity at two rates, one seed: three trainings are i3mrec's two and popularity's one."""
    board = checkerboard(rng=np.random.default_rng(0))
    return plan(contestants(["i3mrec", "popularity"], {}), {"static": [rate_pattern(board, r) for r in (0, 0.5)]}, [0])


def record(seconds: float) -> dict[str, Any]:
    """As much of a record as is shown."""
    return {"seconds": seconds, "metrics": {"all": {"recall@20": 0.25, "ndcg@20": 0.125}}}


def test_a_file_gets_a_line_for_each_training_and_run(runs: list[Run]) -> None:
    """With results, failures, and the time left as soon as one can tell: it is that of runs of the same model."""
    file = StringIO()
    first, popular, second, popular_too = runs

    with sweep_display(Console(file=file, width=40), runs, {first.key: record(90)}) as display:
        display.begin(popular)
        display.kept(popular, record(2))
        display.kept(popular_too, record(2))
        display.begin(second)
        display.epoch(Progress(1, 2, {"ranking": 1.0}, None, 0.0, 0, 1.0))
        display.failed(second, Diverged(1, {"ranking": float("inf")}))

    lines = file.getvalue().splitlines()
    assert lines[:5] == [
        "1 of 4 runs are done already",
        "training: popularity, static, complete; about 3 min left",
        "[2/4] popularity, static, complete: recall@20 0.2500, ndcg@20 0.1250  (2 s)",
        "[3/4] popularity, static, 50% missing: recall@20 0.2500, ndcg@20 0.1250  (2 s)",
        "training: i3mrec, static, 50% missing, seed 0; about 90 s left",
    ]
    assert lines[5].startswith("[4/4] i3mrec, static, 50% missing, seed 0: failed: epoch 1: expected a finite loss")
    assert len(lines) == 6


def test_a_terminal_gets_a_live_bar(runs: list[Run]) -> None:
    """Runs done, the run underway and its epochs; results stay on the screen."""
    file = StringIO()
    console = Console(file=file, force_terminal=True, width=160)

    with sweep_display(console, runs, {}) as display:
        display.begin(runs[0])
        display.epoch(Progress(3, 60, {"ranking": 1.0}, 0.25, 0.25, 3, 1.0))
        display.kept(runs[0], record(90))
        display.begin(runs[1])
        display.failed(runs[1], Diverged(1, {}))

    shown = file.getvalue()
    for text in ("[1/4] i3mrec, static, complete, seed 0: recall@20 0.2500", "2/4", "failed", "about 3 min left"):
        assert text in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7100, "118 min"), (9000, "2.5 h")]
)
def test_durations_are_as_precise_as_a_person_needs(seconds: float, text: str) -> None:
    """Seconds, minutes, hours."""
    assert duration(seconds) == text
