"""The dataset directory: reads and writes what ``docs/dataset-format.md`` describes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store import IdMap
from model_store.featurizers import featurizer_file
from model_store.manifest import MODALITY_PATTERN
from training.columns import IdColumn, check_columns, read_ids, read_numbers, read_split, read_text
from training.errors import DatasetError
from training.features import ModalityFeatures, read_features
from training.interactions import SPLIT_NAMES, Interactions
from training.tables import Table, find_table, read_table
from training.watermark import Watermark, read_watermark

INTERACTION_COLUMNS = ("user", "item", "rating", "timestamp", "split")
_INTEGER = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A catalogue with its interactions.

    Attributes:
        users: ids of all users with an interaction: by number where all ids are integers, else by code point.
        items: ids of all items, in the row order of the features.
        interactions: rows into ``users`` and ``items``.
        features: modality → features of all items, alphabetical.
        item_columns: names of the metadata columns.
        item_rows: (n_items) tuples of metadata, one value per column.
        featurizers: modality → ONNX file of the model that made its features; only modalities that have one.
        journal: how far the data reaches into a service's journal; None where it is of none.
    """

    users: IdMap
    items: IdMap
    interactions: Interactions
    features: Mapping[str, ModalityFeatures]
    item_columns: tuple[str, ...] = ()
    item_rows: tuple[tuple[str, ...], ...] = ()
    featurizers: Mapping[str, Path] = field(default_factory=dict)
    journal: Watermark | None = None

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    @property
    def present(self) -> NDArray[np.bool_]:
        """(n_items, n_modalities) bool, which item has which modality; columns alphabetical."""
        return np.stack([features.present for features in self.features.values()], axis=1)


def read_dataset(directory: Path) -> Dataset:
    """Reads a dataset directory.

    Of several interactions of one pair the latest is kept: by timestamp, else by file order.

    Raises:
        DatasetError: with the first defect found.
    """
    if not directory.is_dir():
        raise DatasetError(directory, "a dataset directory", "none" if not directory.exists() else "a file")
    path = find_table(directory, "interactions")
    if path is None:
        raise DatasetError(directory, "a file interactions.tsv or interactions.parquet", "neither")
    features = _read_all_features(directory)
    featurizers = _find_featurizers(directory, features)
    items, columns, rows = _read_items(directory, features)
    _check_heights(directory, features, len(items))
    table = read_table(path)
    check_columns(table, required=INTERACTION_COLUMNS[:2], allowed=INTERACTION_COLUMNS)
    if not len(table):
        raise DatasetError(path, "at least one interaction", "none")
    users, user_rows = _number_users(read_ids(table, "user"))
    item_rows = _item_rows(table, read_ids(table, "item"), items, listed=find_table(directory, "items") is not None)
    interactions = Interactions(
        users=user_rows,
        items=item_rows,
        ratings=read_numbers(table, "rating", np.float32) if "rating" in table.columns else None,
        timestamps=read_numbers(table, "timestamp", np.float64) if "timestamp" in table.columns else None,
        split=read_split(table) if "split" in table.columns else None,
    )
    interactions = _merge_repeated(table, interactions, len(items))
    return Dataset(users, items, interactions, features, columns, rows, featurizers, read_watermark(directory))


def _read_all_features(directory: Path) -> dict[str, ModalityFeatures]:
    paths = sorted(directory.glob("features_*.npy"))
    if not paths:
        raise DatasetError(directory, "at least one file features_<modality>.npy", "none")
    for path in paths:
        if not MODALITY_PATTERN.fullmatch(_modality(path)):
            raise DatasetError(path, f"a modality name of the form {MODALITY_PATTERN.pattern}", repr(_modality(path)))
    return {_modality(path): read_features(path) for path in sorted(paths, key=_modality)}


def _modality(path: Path) -> str:
    return path.stem.removeprefix("features_")


def _find_featurizers(directory: Path, features: Mapping[str, ModalityFeatures]) -> dict[str, Path]:
    for path in sorted(directory.glob(featurizer_file("*"))):
        name = path.stem.removeprefix("featurizer_")
        if name not in features:
            raise DatasetError(path, f"features_{name}.npy beside it", "features of " + ", ".join(features))
    paths = {name: directory / featurizer_file(name) for name in features}
    return {name: path for name, path in paths.items() if path.exists()}


def _check_heights(directory: Path, features: Mapping[str, ModalityFeatures], n_items: int) -> None:
    for name, modality in features.items():
        if (height := len(modality.matrix)) != n_items:
            path = directory / f"features_{name}.npy"
            raise DatasetError(path, f"{n_items} rows, one for each item", f"{height} rows")


def _read_items(
    directory: Path, features: Mapping[str, ModalityFeatures]
) -> tuple[IdMap, tuple[str, ...], tuple[tuple[str, ...], ...]]:
    path = find_table(directory, "items")
    if path is None:
        n_items = len(next(iter(features.values())).matrix)
        return IdMap(str(row) for row in range(n_items)), (), ()
    table = read_table(path)
    names = list(table.columns)
    if names[0] != "item":
        raise DatasetError(path, "a first column 'item'", repr(names[0]), table.first_line - 1 or None)
    if not len(table):
        raise DatasetError(path, "at least one item", "none")
    ids = read_ids(table, "item")
    if len(ids.distinct) != len(table):
        row = int(np.argmin(ids.codes == np.arange(len(table))))
        raise DatasetError(path, "each item once", f"{ids.distinct[ids.codes[row]]!r} again", table.line(row))
    columns = [read_text(table, name) for name in names[1:]]
    rows = tuple(zip(*columns, strict=True)) if columns else ()
    return IdMap(ids.distinct), tuple(names[1:]), rows


def user_order(ids: Iterable[str]) -> list[str]:
    """Distinct ids in the order of user rows: by number where all are integers, else by code point."""
    distinct = list(ids)
    if all(_INTEGER.fullmatch(value) for value in distinct):
        return sorted(distinct, key=int)
    return sorted(distinct)


def _number_users(column: IdColumn) -> tuple[IdMap, NDArray[np.int32]]:
    """The users in their order, and the (n,) int32 user rows of the column."""
    users = IdMap(user_order(column.distinct))
    return users, users.rows(column.distinct).astype(np.int32)[column.codes]


def _item_rows(table: Table, column: IdColumn, items: IdMap, *, listed: bool) -> NDArray[np.int32]:
    """The (n,) int32 item rows of the column."""
    rows = [items.get(value) for value in column.distinct]
    if None in rows:
        code = rows.index(None)
        expected = "an item of the items table" if listed else f"an item 0…{len(items) - 1}, as there is no items table"
        raise DatasetError(table.path, expected, repr(column.distinct[code]), table.line(column.first_row(code)))
    return np.asarray(rows, dtype=np.int32)[column.codes]


def _merge_repeated(table: Table, interactions: Interactions, n_items: int) -> Interactions:
    """Keeps the latest interaction of each pair, in file order."""
    pairs = interactions.users.astype(np.int64) * n_items + interactions.items
    times = interactions.timestamps
    order = np.argsort(pairs, kind="stable") if times is None else np.lexsort((times, pairs))
    same = pairs[order][1:] == pairs[order][:-1]
    if not same.any():
        return interactions
    if interactions.split is not None:
        _check_torn(table, interactions.split, order[:-1][same], order[1:][same])
    return interactions.take(np.sort(order[np.append(~same, True)]))


def _check_torn(table: Table, split: NDArray[np.int8], one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    """Refuses rows ``one`` and ``other`` of the same pair that lie in two splits."""
    torn = split[one] != split[other]
    if torn.any():
        first, second = np.minimum(one, other)[torn], np.maximum(one, other)[torn]
        k = int(np.argmin(second))
        before = f"{SPLIT_NAMES[split[first[k]]]} in line {table.line(first[k])}"
        found = f"{SPLIT_NAMES[split[second[k]]]} here and {before}"
        raise DatasetError(table.path, "a pair of user and item in one split", found, table.line(second[k]))
