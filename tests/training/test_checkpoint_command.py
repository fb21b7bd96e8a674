"""``python -m training train --checkpoint``: kill -9, Ctrl-C, a failed publication, and the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_store import ModelStore
from training import models
from training.commands import main
from training.dataset import Dataset
from training.writing import write_dataset

MakeBoard = Callable[..., Dataset]
SMALL = ["--preset", "milk", "--d", "8", "--device", "cpu", "--evaluate-every", "5", "--patience", "1000000"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_board: MakeBoard) -> Path:
    """A dataset directory with something to validate by."""
    directory = tmp_path_factory.mktemp("data") / "board"
    write_dataset(directory, make_board(30, 24, missing=0.3, validation=True))
    return directory


def command(data: Path, *arguments: object) -> list[str]:
    """The command line after ``python -m training``."""
    return ["train", "--data", str(data), *SMALL, *map(str, arguments)]


def course(path: Path) -> list[dict[str, Any]]:
    """The epochs of a report, without the seconds."""
    epochs: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["epochs"]
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in epochs]


def stop_when_saved(checkpoint: Path, with_signal: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Runs a command until its checkpoint is there, then stops it; returns its status and what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments, "--checkpoint", str(checkpoint)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists():
            assert process.poll() is None, "the run ended before its first validation"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(with_signal)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, output


def test_run_that_was_killed_goes_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed after the first validation, the same command ends as if nothing had been, and removes its file."""
    checkpoint, epochs = tmp_path / "run", ["--epochs", 150]
    assert main(command(data, *epochs, "--report", tmp_path / "whole.json")) == 0

    status, _ = stop_when_saved(checkpoint, signal.SIGKILL, *command(data, *epochs))
    capsys.readouterr()
    again = command(data, *epochs, "--checkpoint", checkpoint, "--report", tmp_path / "resumed.json")

    assert status == -signal.SIGKILL
    assert main(again) == 0
    assert f"{checkpoint}: is there; the run in it goes on\n" in capsys.readouterr().out
    assert course(tmp_path / "resumed.json") == course(tmp_path / "whole.json")
    assert not checkpoint.exists()


def spoil(store: Path) -> None:
    """Makes a store to which nothing can be published, which shows only when something is."""
    store.mkdir()
    (store / "versions").write_text("x", encoding="utf-8")


def test_ctrl_c_publishes_and_keeps_the_checkpoint(data: Path, tmp_path: Path) -> None:
    """Status 0 and a version, as without a checkpoint; the last line says that the run can go on."""
    checkpoint, store = tmp_path / "run", tmp_path / "store"

    status, output = stop_when_saved(checkpoint, signal.SIGINT, *command(data, "--epochs", 1_000_000, "--store", store))

    assert status == 0
    assert output.endswith(f"{checkpoint}: the same command goes on from here\n")
    assert len(ModelStore(store).versions()) == 1
    assert checkpoint.exists()


def test_failed_publication_keeps_the_checkpoint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands where versions should be; once it is gone the same command publishes without training again."""
    checkpoint, store = tmp_path / "run", tmp_path / "store"
    arguments = command(data, "--epochs", 10, "--checkpoint", checkpoint, "--store", store)
    spoil(store)
    assert main(arguments) == 1
    assert checkpoint.exists()
    (store / "versions").unlink()
    capsys.readouterr()

    assert main(arguments) == 0

    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in shown] == ["10/10"]
    assert len(ModelStore(store).versions()) == 1
    assert not checkpoint.exists()


def test_checkpoint_of_another_run_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 and one line that says what differs; the file stays for the run it is of."""
    checkpoint, store = tmp_path / "run", tmp_path / "store"
    stop_when_saved(checkpoint, signal.SIGKILL, *command(data, "--epochs", 100_000))
    content = checkpoint.read_bytes()

    status = main(command(data, "--epochs", 100_000, "--seed", 1, "--checkpoint", checkpoint, "--store", store))

    complaint = capsys.readouterr().err
    assert status == 1
    assert complaint.startswith(f"error: {checkpoint}: expected a checkpoint of this very run, found ")
    assert "seed 0 in place of 1" in complaint
    assert complaint.count("\n") == 1
    assert checkpoint.read_bytes() == content
    assert not store.exists()


def test_search_is_made_once(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was stopped after a search goes on with what was found; its end removes both files."""
    checkpoint, store, tune = tmp_path / "run", tmp_path / "store", ["--epochs", 10, "--tune", 2]
    arguments = command(data, *tune, "--checkpoint", checkpoint, "--store", store)
    spoil(store)
    assert main(arguments) == 1
    assert "trial 2/2" in capsys.readouterr().out
    (store / "versions").unlink()

    assert main(arguments) == 0

    output = capsys.readouterr().out
    assert f"{checkpoint}.tuned: is there; nothing is searched for again\n" in output
    assert "trial" not in output
    assert not list(tmp_path.glob("run*"))


@pytest.mark.parametrize(
    "other",
    [["--tune", 3], ["--tune", 2, "--seed", 1], ["--tune", 2, "--new-items"]],
    ids=["more trials", "another beginning", "other data"],
)
def test_other_searches_are_made_anew(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], other: list[object]
) -> None:
    """What was found counts for the very same search; what cannot be read counts for none."""
    checkpoint, store = tmp_path / "run", tmp_path / "store"
    spoil(store)
    for tune in (["--tune", 2], other):
        assert main(command(data, "--epochs", 5, *tune, "--checkpoint", checkpoint, "--store", store)) == 1
        assert "trial 2/" in capsys.readouterr().out
        checkpoint.unlink(missing_ok=True)
    (tmp_path / "run.tuned").write_bytes(b"{")
    assert main(command(data, "--epochs", 5, *other, "--checkpoint", checkpoint, "--store", store)) == 1
    assert "trial 2/" in capsys.readouterr().out


def test_search_with_another_revision_is_made_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was best for other numbers need not be so now."""
    arguments = command(data, "--epochs", 5, "--tune", 2, "--checkpoint", tmp_path / "run", "--store", tmp_path / "s")
    spoil(tmp_path / "s")
    assert main(arguments) == 1
    (tmp_path / "run").unlink()
    monkeypatch.setattr(models, "REVISIONS", {"milk": 2})
    capsys.readouterr()

    assert main(arguments) == 1

    assert "trial 2/2" in capsys.readouterr().out


def test_ctrl_c_before_there_is_a_model_is_said(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1 and a line, wherever it comes."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.train.selected", interrupted)

    assert main(command(data, "--epochs", 5)) == 1
    assert capsys.readouterr().err.startswith("error: interrupted before training")
