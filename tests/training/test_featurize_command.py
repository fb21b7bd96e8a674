"""``python -m training featurize``: from text columns to features and the model that made them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.commands import main
from training.dataset import Dataset, read_dataset
from training.text_featurizer import featurize
from training.writing import write_dataset

TITLES = ["Red apple pie", "", "Green apple tart", "Red cherry pie", "Cherry tart", "zzz"]
BLURBS = ["sweet", "", "sour", "", "sweet and sour", " "]
MakeBoard = Callable[..., Dataset]
Command = Callable[..., int]


@pytest.fixture
def data(tmp_path: Path, make_board: MakeBoard) -> Path:
    """Six items with titles and blurbs, and features of images; the second item has no text."""
    rows = tuple(zip(TITLES, BLURBS, strict=True))
    board = make_board(12, 6, missing=0.0, modalities={"image": 4}, validation=True)
    write_dataset(tmp_path / "data", replace(board, item_columns=("title", "blurb"), item_rows=rows))
    return tmp_path / "data"


@pytest.fixture
def command(data: Path) -> Command:
    """Runs the command on the directory, for two dimensions of both columns unless other flags are given."""

    def run(*arguments: str) -> int:
        return main(["featurize", "--data", str(data), "--from", "title,blurb", "--dim", "2", *arguments])

    return run


def names(directory: Path) -> set[str]:
    """The files of a directory."""
    return {path.name for path in directory.iterdir()}


def test_features_are_what_the_model_makes_of_the_texts(
    data: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns are joined by a line end, items without text are NaN, unknown words alone are zeros."""
    before = names(data)

    assert command() == 0

    assert names(data) == before | {"features_text.npy", "featurizer_text.onnx"}
    matrix, model = np.load(data / "features_text.npy"), (data / "featurizer_text.onnx").read_bytes()
    texts = ["Red apple pie\nsweet", "Green apple tart\nsour", "Red cherry pie", "Cherry tart\nsweet and sour", "zzz"]
    assert (matrix.shape, matrix.dtype) == ((6, 2), np.float32)
    assert np.isnan(matrix[1]).all()
    assert matrix[[0, 2, 3, 4, 5]].tolist() == featurize(model, texts).tolist()
    assert matrix[5].tolist() == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        f"{data / 'features_text.npy'}: 2 dimensions, 5 of 6 items have text",
        f"{data / 'featurizer_text.onnx'}: 7 words",
    ]


def test_directory_is_sound_and_says_so(data: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """What was written passes validation, which tries the model and names it."""
    command("--modality", "blurb", "--from", "blurb", "--dim", "1")

    assert main(["validate", "--data", str(data)]) == 0

    assert capsys.readouterr().out.endswith("featurizers    blurb from raw texts\n")
    assert read_dataset(data).featurizers == {"blurb": data / "featurizer_blurb.onnx"}


def test_defective_featurizer_is_refused_before_training(
    data: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names the file, and not a step was trained."""
    command()
    (data / "featurizer_text.onnx").write_bytes(b"no model")
    capsys.readouterr()

    assert main(["train", "--data", str(data), "--store", str(tmp_path / "store")]) == 1

    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {data / 'featurizer_text.onnx'}: expected one model that ONNX Runtime")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("existing", ["features_text.npy", "featurizer_text.onnx"])
def test_existing_files_are_only_replaced_on_request(
    data: Path, command: Command, capsys: pytest.CaptureFixture[str], existing: str
) -> None:
    """Embeddings that someone paid for are not overwritten by a default."""
    (data / existing).write_bytes(b"precious")
    before = names(data)

    assert command() == 1

    assert capsys.readouterr().err == f"error: {data / existing}: is there already (--replace replaces it)\n"
    assert names(data) == before
    assert (data / existing).read_bytes() == b"precious"
    assert command("--replace") == 0
    assert read_dataset(data).features["text"].dim == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "title,price"], "items.tsv:1: expected a column 'price', found the columns item, title, blurb"),
        (["--dim", "0"], "dim: expected at least 1, found 0"),
        (["--dim", "50"], "dim: expected at most 4, as no more can be told apart"),
        (["--vocabulary", "0"], "vocabulary: expected at least 1, found 0"),
        (["--modality", "Text"], "modality: expected a name of the form"),
    ],
)
def test_flag_that_cannot_be_meant_is_refused(
    data: Path, command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """One line says what was expected, and no file is written."""
    before = names(data)

    assert command(*arguments) == 1

    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert names(data) == before


def test_items_without_text_are_refused(data: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Empty columns give no features of nothing but NaN."""
    (data / "items.tsv").write_text("item\ttitle\tblurb\n" + "".join(f"{n}\t\t \n" for n in range(6)))

    assert command() == 1

    assert capsys.readouterr().err == "error: expected text in title, blurb, found none in 6 items\n"


def test_directory_without_items_table_is_refused(
    data: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where items are only numbers there is no text to read."""
    (data / "items.tsv").unlink()

    assert command() == 1

    assert "expected a file items.tsv or items.parquet, found neither" in capsys.readouterr().err


def test_parquet_is_read_too(data: Path, command: Command) -> None:
    """Nulls are no text."""
    (data / "items.tsv").unlink()
    columns = {"item": [str(n) for n in range(6)], "title": [title or None for title in TITLES], "blurb": BLURBS}
    pq.write_table(pa.table(columns), data / "items.parquet")

    assert command() == 0

    assert read_dataset(data).features["text"].present.tolist() == [True, False, True, True, True, True]
