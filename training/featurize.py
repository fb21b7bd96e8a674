"""``python -m training featurize``: features of the items' texts, for catalogues without embeddings of their own."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.featurizers import featurizer_file
from model_store.manifest import MODALITY_PATTERN
from training.columns import check_columns, read_text
from training.errors import ConfigError, DatasetError, NothingToLearn, PreparationFailed
from training.tables import find_table, read_table
from training.text_featurizer import featurize, learn_featurizer

SEPARATOR = "\n"  # between the columns of an item


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("--data", type=Path, required=True, help="dataset directory (docs/dataset-format.md)")
    parser.add_argument(
        "--from",
        dest="columns",
        required=True,
        metavar="COLUMN[,COLUMN…]",
        help="text columns of the items table; an item's text is those that it has, in this order, one a line",
    )
    parser.add_argument("--modality", default="text", metavar="NAME", help="name of the features (default text)")
    parser.add_argument("--dim", type=int, default=128, help="numbers in a feature row (default 128)")
    parser.add_argument("--vocabulary", type=int, default=20_000, help="words that are known at most (default 20000)")
    parser.add_argument("--replace", action="store_true", help="replace features of this name that are there already")


def run(args: argparse.Namespace) -> int:
    """Learns a featurizer of the items' texts and writes it beside the features it makes of them.

    Raises:
        TrainingError: a flag that cannot be meant, no such column, too few words, or features that are there already;
            the directory is as it was.
        OSError: a file cannot be written.
    """
    _check_flags(args)
    features, model = args.data / f"features_{args.modality}.npy", args.data / featurizer_file(args.modality)
    for path in (features, model):
        if path.exists() and not args.replace:
            raise PreparationFailed(f"{path}: is there already (--replace replaces it)")
    columns = args.columns.split(",")
    texts = read_texts(args.data, columns)
    present = [text for text in texts if text]
    if not present:
        raise NothingToLearn(f"expected text in {', '.join(columns)}, found none in {len(texts)} items")
    learned = learn_featurizer(present, args.dim, args.vocabulary)
    matrix = np.full((len(texts), args.dim), np.nan, np.float32)
    # The very output of what will serve, so that an item is the same whether it was trained on or comes later.
    matrix[[bool(text) for text in texts]] = featurize(learned.content, present)
    _write(features, matrix, model, learned.content)
    sys.stdout.write(f"{features}: {args.dim} dimensions, {len(present):,} of {len(texts):,} items have text\n")
    sys.stdout.write(f"{model}: {learned.n_words:,} words\n")
    return 0


def read_texts(directory: Path, columns: Sequence[str]) -> list[str]:
    """The text of each item: its values in some columns of the items table, joined by line ends, empty ones left out.

    Raises:
        DatasetError: there is no sound items table, or it lacks a column.
    """
    path = find_table(directory, "items")
    if path is None:
        raise DatasetError(directory, "a file items.tsv or items.parquet", "neither")
    table = read_table(path)
    check_columns(table, required=("item", *columns))
    values = [read_text(table, name) for name in columns]
    return [SEPARATOR.join(value for value in row if value.strip()) for row in zip(*values, strict=True)]


def _check_flags(args: argparse.Namespace) -> None:
    if not MODALITY_PATTERN.fullmatch(args.modality):
        raise ConfigError("modality", f"a name of the form {MODALITY_PATTERN.pattern}", args.modality)
    for name in ("dim", "vocabulary"):
        if getattr(args, name) < 1:
            raise ConfigError(name, "at least 1", getattr(args, name))


def _write(features: Path, matrix: NDArray[np.float32], model: Path, content: bytes) -> None:
    """Writes both files, each whole or not at all, and never one beside another version of the other."""
    new_features, new_model = (path.with_name(f".{path.name}.{os.getpid()}") for path in (features, model))
    try:
        with new_features.open("wb") as file:
            np.save(file, matrix, allow_pickle=False)
        new_model.write_bytes(content)
        model.unlink(missing_ok=True)  # features without a featurizer are sound
        new_features.replace(features)
        new_model.replace(model)
    finally:
        new_features.unlink(missing_ok=True)
        new_model.unlink(missing_ok=True)
