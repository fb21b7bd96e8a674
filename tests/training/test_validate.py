"""The validate command: a summary for people, or the defect."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from training import validate
from training.datasets.synthetic import checkerboard
from training.errors import DatasetError
from training.writing import write_dataset


def command(directory: Path) -> int:
    """Runs ``validate`` on a directory."""
    parser = argparse.ArgumentParser()
    validate.add_arguments(parser)
    return validate.run(parser.parse_args(["--data", str(directory)]))


def test_validate_says_what_is_in_a_sound_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, split, modalities and the patterns of what items have."""
    dataset = checkerboard(10, 8, rng=np.random.default_rng(0), missing=0.4)
    write_dataset(tmp_path / "data", dataset)

    assert command(tmp_path / "data") == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["users          10", "items          8, 0 of them without an interaction", "interactions   40"]
    assert "split          train 30, val 0, test 10" in lines
    n_image = int(dataset.features["image"].present.sum())
    assert f"  image: 8 dimensions, present in {n_image} of 8 items ({n_image / 8:.1%})" in lines
    n_both = int(dataset.present.all(axis=1).sum())
    assert f"  image + text: {n_both} of 8 items ({n_both / 8:.1%})" in lines


def test_validate_passes_the_first_defect_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a defective directory nothing is summarised."""
    with pytest.raises(DatasetError, match=f"{tmp_path}: expected a file interactions.tsv"):
        command(tmp_path)

    assert capsys.readouterr().out == ""
