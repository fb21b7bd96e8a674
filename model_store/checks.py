"""What must hold of a bundle's contents before it is written and after it is read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.contents import BundleContents
from model_store.errors import CorruptBundle
from model_store.featurizers import check_featurizers
from model_store.manifest import Manifest, check_rule


def check_contents(directory: Path, contents: BundleContents, manifest: Manifest) -> None:
    """Checks shapes, types, order and finiteness of a bundle's contents against its manifest.

    Raises:
        CorruptBundle: with the first contradiction found.
    """
    n_users, n_items, d = manifest.n_users, manifest.n_items, manifest.d
    expected: dict[str, tuple[tuple[int, ...], type]] = {
        "user_embeddings": ((n_users, d), np.float32),
        "item_embeddings": ((n_items, d), np.float32),
        "history_embeddings": ((n_items, d), np.float32),
        "seen_indptr": ((n_users + 1,), np.int64),
        "seen_indices": ((_seen_length(contents.seen_indptr),), np.int32),
        "popularity": ((n_items,), np.float32),
        **{f"features_{name}": ((n_items, d_m), np.float32) for name, d_m in manifest.modalities.items()},
    }
    if (manifest.history is None) != (contents.history_embeddings is None):
        raise CorruptBundle(directory, "history embeddings and a history rule belong together")
    check_rule(directory, manifest)
    check_featurizers(directory, manifest.featurizers, manifest.modalities)
    if set(contents.features) != set(manifest.modalities):
        raise CorruptBundle(
            directory, f"expected features of {sorted(manifest.modalities)}, found {sorted(contents.features)}"
        )
    for name, array in contents.arrays().items():
        shape, dtype = expected[name]
        if array.shape != shape or array.dtype != dtype:
            found = f"{array.dtype} {array.shape}"
            raise CorruptBundle(directory, f"{name}: expected {np.dtype(dtype)} {shape}, found {found}")
        _check_values(directory, name, array)
    _check_seen(directory, contents, n_items)
    _check_ids(directory, contents, manifest)


def _seen_length(indptr: NDArray[np.int64]) -> int:
    """How many entries the row pointers speak of; 0 where they are malformed, which their own check reports."""
    return int(indptr[-1]) if indptr.ndim == 1 and len(indptr) and indptr.dtype == np.int64 else 0


def _check_values(directory: Path, name: str, array: NDArray[Any]) -> None:
    if array.dtype != np.float32:
        return
    finite = np.isfinite(array)
    if name.startswith("features_"):  # a row is present, all finite, or absent, all NaN
        absent = np.isnan(array).all(axis=1)
        finite = finite[~absent]
    if not finite.all():
        raise CorruptBundle(directory, f"{name}: expected finite values")


def _check_seen(directory: Path, contents: BundleContents, n_items: int) -> None:
    indptr, indices = contents.seen_indptr, contents.seen_indices
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise CorruptBundle(directory, "seen_indptr: expected 0 first and no decrease")
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_items):
        raise CorruptBundle(directory, f"seen_indices: expected item rows 0…{n_items - 1}")


def _check_ids(directory: Path, contents: BundleContents, manifest: Manifest) -> None:
    found = (len(contents.users), len(contents.items))
    if found != (manifest.n_users, manifest.n_items):
        raise CorruptBundle(
            directory, f"expected {manifest.n_users} users and {manifest.n_items} items, found {found} ids"
        )
    if contents.item_rows and len(contents.item_rows) != manifest.n_items:
        raise CorruptBundle(directory, f"items.tsv: expected {manifest.n_items} rows, found {len(contents.item_rows)}")
    columns = contents.item_columns
    if len({"", "item", *columns}) != len(columns) + 2:
        raise CorruptBundle(directory, f"items.tsv: expected distinct names of metadata columns, found {columns}")


def check_cells(directory: Path, contents: BundleContents) -> None:
    """Checks that the metadata can be written as a table of text; what was read from one is of that kind already.

    Raises:
        CorruptBundle: with the first contradiction found.
    """
    columns, rows = contents.item_columns, contents.item_rows
    if any(len(row) != len(columns) for row in rows) or (columns and len(rows) != len(contents.items)):
        raise CorruptBundle(directory, f"items.tsv: expected {len(columns)} metadata values for every item")
    for cell in (*columns, *(cell for row in rows for cell in row)):
        if "\t" in cell or "\n" in cell or not _is_text(cell):
            raise CorruptBundle(directory, f"items.tsv: {cell!r} holds a tab, a newline or a lone surrogate")


def _is_text(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True
