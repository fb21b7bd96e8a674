"""``python -m benchmarks.training``: that it runs and keeps what it measured; the numbers are nobody's promise."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command from the root of the repository."""
    command = [sys.executable, "-m", "benchmarks.training", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)


def measurements(path: Path) -> list[dict[str, Any]]:
    """What a file of the command holds."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert record["threads"] == 1
    measured: list[dict[str, Any]] = record["measurements"]
    return measured


def test_training_benchmark_measures_growth(tmp_path: Path) -> None:
    """Two sizes: each with its times, its memory and its reference, and the growth from one to the other."""
    done = bench("--sizes", "2e3,8e3", "--presets", "milk", "--epochs", 3, "--json", tmp_path / "deep" / "bench.json")

    assert done.returncode == 0, done.stderr
    small, large = measurements(tmp_path / "deep" / "bench.json")
    assert [small["size"], large["size"]] == [2000, 8000]
    assert (small["users"], small["items"], small["epochs"], small["threads"]) == (200, 100, 3, 1)
    assert small["interactions"] + 20 <= 2000  # 20 users validate
    for measured in (small, large):
        assert 0 < measured["seconds_per_epoch"] <= measured["seconds_to_best"]
        assert 0 < measured["mib_before_training"] <= measured["mib_peak"]
        assert measured["reference_seconds"] > 0
    assert "published I³-MRec code" in done.stdout
    assert "matmul 2048³" in done.stdout


def test_measurement_that_cannot_be_made_has_its_line(tmp_path: Path) -> None:
    """No such data set: status 1, the reason in the file and in the table; the next one is measured all the same."""
    done = bench("--data", tmp_path / "nowhere", "--presets", "milk,mrdib", "--json", tmp_path / "bench.json")

    assert done.returncode == 1
    assert [measured["preset"] for measured in measurements(tmp_path / "bench.json")] == ["milk", "mrdib"]
    assert all("a dataset directory" in measured["failed"] for measured in measurements(tmp_path / "bench.json"))


def test_unknown_preset_is_a_usage_error() -> None:
    """Before anything is measured."""
    done = bench("--presets", "milk,nobody")

    assert done.returncode == 2
    assert "nobody" in done.stderr
