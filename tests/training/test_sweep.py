"""A sweep: what is done once for runs that share a training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from training import sweep
from training.contestants import Fitted, contestants
from training.dataset import Dataset
from training.errors import TrainingError
from training.loop import Progress
from training.protocols import rate_pattern
from training.run_store import RunStore
from training.runs import Run, plan
from training.sweep import carry_out


class Silent:
    """Counts what is kept."""

    def __init__(self) -> None:
        self.kept_runs: list[str] = []

    def begin(self, run: Run) -> None:
        """As any display."""

    def epoch(self, progress: Progress) -> None:
        """As any display."""

    def kept(self, run: Run, record: Mapping[str, Any]) -> None:
        """Writes down which."""
        self.kept_runs.append(f"{record['d']}-dimensional {run.protocol.name} {run.pattern.name}")

    def failed(self, run: Run, error: TrainingError) -> None:
        """None may."""
        raise AssertionError(run) from error


def test_facts_of_a_training_are_found_once_for_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_board: Callable[..., Dataset]
) -> None:
    """They take all tables; three runs share them."""
    board = make_board(12, 10, validation=True)
    complete, half = (rate_pattern(board, rate) for rate in (0.0, 0.5))
    runs = plan(contestants(["ease"], {}), {"static": [complete], "full-train": [complete, half]}, [0])
    display, asked = Silent(), []
    facts = sweep._facts

    def counted(fitted: Fitted) -> dict[str, Any]:
        asked.append(fitted)
        return facts(fitted)

    monkeypatch.setattr(sweep, "_facts", counted)

    assert carry_out(runs, RunStore(tmp_path), board, "data", display) == []

    assert display.kept_runs == [f"10-dimensional {what}" for what in ("static 0", "full-train 0", "full-train 0.5")]
    assert len(asked) == 1
