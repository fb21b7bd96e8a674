"""``python -m benchmarks.gpu`` and ``benchmarks.engines``: all of it but the device, on tiny data."""

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import engines, gpu
from benchmarks.cuda_runtime import CudaRuntime
from benchmarks.gpu_cases import Asked, Measured, cases, floor_us, make_batch, recall
from benchmarks.search_questions import make_vectors
from service.adapters.exact_scan import Batch, Found
from service.adapters.segments import ExactEngine

ROOT = Path(__file__).parents[2]


def test_without_a_device_nothing_is_measured() -> None:
    """One line says what is missing, and the exit status is 2."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--items", "100"]

    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("nothing was measured: expected")
    assert len(done.stdout.splitlines()) == 1


def test_every_engine_is_measured(fake_device: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each case has its line, with its recall and, where all rows are read, its floor."""
    file = tmp_path / "deep" / "gpu.json"
    sizes = ["--items", "3000", "--d", "16", "--batch", "1,3", "--k", "5,40"]
    arguments = [*sizes, "--recall", "0.1", "--json", str(file)]

    assert gpu.main(arguments, fake_device, lambda: 1e9) == 0

    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["bytes_per_s"] == 1e9
    rows = record["measured"]
    assert [row["engine"] for row in rows] == [name for name in gpu.ENGINES for _ in range(10)]
    for row in rows:
        exact = row["engine"] != "gpu-cagra"
        assert row["engine_us"] > 0
        assert (row["device_us"] is None) != exact
        assert row["recall"] == 1 if exact else 0 < row["recall"] <= 1
    assert rows[0]["floor_us"] == pytest.approx(96)  # 3,000 vectors of 16 numbers of 2 bytes, a gigabyte a second
    assert "batch 1, k 5, 90% hidden" in capsys.readouterr().out


def test_device_that_computes_wrongly_is_not_measured(
    fake_device: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ignores selectors has no times."""
    assert gpu.main(["--items", "100"], lambda: fake_device(deaf=True), pytest.fail) == 1

    assert "ignores selectors" in capsys.readouterr().out


def test_graph_that_is_refused_has_no_cases(fake_device: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    """Its recall is told."""
    arguments = ["--items", "4000", "--d", "8", "--engines", "gpu-cagra", "--recall", "1.01"]

    assert gpu.main(arguments, fake_device, lambda: 1e9) == 0

    assert "none, refused, recall 0." in capsys.readouterr().out


def test_cases_take_every_batch_with_every_length() -> None:
    """And exclusions with each batch, filters with the first."""
    made = cases([1, 256], [20, 200])

    assert made[:4] == [Asked(1, 20), Asked(1, 200), Asked(256, 20), Asked(256, 200)]
    assert [case.excluded for case in made[4:6]] == [200, 200]
    assert [case.hidden for case in made[6:]] == [0.01, 0.1, 0.5, 0.9]


def test_floor_is_reading_once() -> None:
    """Ten million times 64 numbers of two bytes at four terabytes a second are 320 µs; a graph has no such floor."""
    assert floor_us(10_000_000, 64, "gpu-fp16", 4e12) == pytest.approx(320)
    assert floor_us(10_000_000, 64, "gpu-fp32", 4e12) == pytest.approx(640)
    assert floor_us(10_000_000, 64, "gpu-cagra", 4e12) is None
    assert Measured("gpu-fp16", Asked(1, 20), 640.0, 700.0, 320.0, 1.0).share_of_floor == 0.5
    assert Measured("gpu-cagra", Asked(1, 20), None, 700.0, None, 1.0).share_of_floor is None


def test_recall_of_a_case_counts_what_is_missed() -> None:
    """An engine that finds half of the best has half the recall."""
    matrix = make_vectors(400, 8, np.random.default_rng(0))
    batch = make_batch(Asked(2, 10, excluded=20, hidden=0.1), matrix, np.random.default_rng(1))

    class Half(ExactEngine):
        def find(self, batch: Batch) -> Found:
            found = super().find(batch)
            scores = (matrix[found.rows] * batch.queries[found.queries]).sum(axis=1)
            kept = [np.argsort(-np.where(found.queries == number, scores, -np.inf))[:5] for number in range(2)]
            return Found(found.queries[np.concatenate(kept)], found.rows[np.concatenate(kept)])

    assert batch.hidden.size == 40
    assert np.bincount(batch.excluded_by).tolist() == [20, 20]
    assert recall(matrix, batch, ExactEngine(matrix)) == 1
    assert recall(matrix, batch, Half(matrix)) == 0.5


class Cuda:
    """CUDA's runtime, of a device that counts what is asked of it."""

    def __init__(self, failing: str = "") -> None:
        self.called: list[str] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            self.called.append(name)
            assert all(not isinstance(argument, int) for argument in arguments)  # ctypes would cut off the upper half
            return 2 if name == self._failing else 0

        return call


def test_bandwidth_counts_both_ways_and_frees() -> None:
    """A copy reads and writes; both buffers are given back, also where a copy fails."""
    runtime, failing = Cuda(), Cuda("cudaMemcpy")

    assert CudaRuntime(runtime).bytes_per_s(1 << 20) > 0
    with pytest.raises(RuntimeError, match="cudaMemcpy: CUDA error 2"):
        CudaRuntime(failing).bytes_per_s(1 << 20)

    for each in (runtime, failing):
        assert (each.called.count("cudaMalloc"), each.called.count("cudaFree")) == (2, 2)
    assert runtime.called.count("cudaMemcpy") > 1
    assert ctypes.sizeof(ctypes.c_size_t) == 8


def test_engines_benchmark_has_a_line_for_each_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the exact one; what is refused says so."""
    assert engines.main(["--items", "600,1200", "--d", "8", "--recall", "0.999"]) == 0
    shown = capsys.readouterr().out

    assert [shown.count(name) for name in (" exact ", " ivf ", " hnsw ")] == [2, 2, 2]
    with pytest.raises(SystemExit):
        engines.main(["--engines", "sq8"])
