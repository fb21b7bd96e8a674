"""Writes a data set as a dataset directory."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from model_store.featurizers import featurizer_file
from training.dataset import Dataset
from training.errors import DatasetError
from training.interactions import SPLIT_NAMES, Interactions
from training.watermark import write_watermark


def write_dataset(directory: Path, dataset: Dataset) -> None:
    """Writes TSV tables, feature arrays, copies of the featurizers and the mark of the journal.

    The directory is to be new or empty.

    Raises:
        DatasetError: the directory holds something, or metadata holds a tab or a line end.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise DatasetError(directory, "a new or empty directory", "files")
    _write_items(directory / "items.tsv", dataset)
    _write_tsv(directory / "interactions.tsv", _interaction_columns(dataset))
    for name, features in dataset.features.items():
        np.save(directory / f"features_{name}.npy", features.with_nan(), allow_pickle=False)
    for name, path in dataset.featurizers.items():
        shutil.copyfile(path, directory / featurizer_file(name))
    if dataset.journal:
        write_watermark(directory, dataset.journal)


def _write_items(path: Path, dataset: Dataset) -> None:
    header = ("item", *dataset.item_columns)
    metadata = dataset.item_rows or [()] * len(dataset.items)
    rows = [(item, *row) for item, row in zip(dataset.items, metadata, strict=True)]
    for line, row in enumerate([header, *rows], start=1):
        if len(row) != len(header) or any(mark in cell for cell in row for mark in "\t\r\n"):
            raise DatasetError(path, f"{len(header)} columns without tab and line end", repr(row), line)
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), encoding="utf-8", newline="\n")


def _interaction_columns(dataset: Dataset) -> dict[str, pa.Array]:
    interactions: Interactions = dataset.interactions
    columns = {
        "user": pa.array(list(dataset.users), pa.string()).take(pa.array(interactions.users)),
        "item": pa.array(list(dataset.items), pa.string()).take(pa.array(interactions.items)),
    }
    if interactions.ratings is not None:
        columns["rating"] = _number_text(interactions.ratings)
    if interactions.timestamps is not None:
        columns["timestamp"] = _number_text(interactions.timestamps)
    if interactions.split is not None:
        columns["split"] = pa.array(SPLIT_NAMES).take(pa.array(interactions.split))
    return columns


def _write_tsv(path: Path, columns: dict[str, pa.Array]) -> None:
    lines = pc.binary_join_element_wise(*columns.values(), "\t")
    text = "\n".join(["\t".join(columns), *lines.to_pylist(), ""])
    path.write_text(text, encoding="utf-8", newline="\n")


def _number_text(numbers: NDArray[np.float32] | NDArray[np.float64]) -> pa.Array:
    """Numbers as the shortest text that reads back the same; whole ones as integers."""
    whole = (np.abs(numbers) < 2**53).all() and (numbers == np.rint(numbers)).all()
    return pa.array(numbers.astype(np.int64) if whole else numbers).cast(pa.string())
