"""The bundle: one immutable model version as a directory of arrays, texts and an ONNX encoder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.checks import check_cells, check_contents
from model_store.contents import BundleContents
from model_store.errors import CorruptBundle, InvalidId
from model_store.featurizers import featurizer_file
from model_store.files import NO_ARRAY, fsync, let_go, read_lines, sha256_of, write_lines
from model_store.ids import IdMap
from model_store.item_table import ItemTable, read_item_table
from model_store.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest
from model_store.texts import Texts


@dataclass(frozen=True, slots=True, eq=False)
class Bundle(BundleContents):
    """A checked bundle read from disk; its arrays are memory-mapped and read-only."""

    item_rows: ItemTable = field(kw_only=True)
    manifest: Manifest = field(kw_only=True)
    directory: Path = field(kw_only=True)

    @property
    def version(self) -> str:
        """The model version."""
        return self.manifest.model_version

    @property
    def encoder_path(self) -> Path:
        """Path of the ONNX encoder."""
        return self.directory / "encoder.onnx"

    def featurizer_path(self, modality: str) -> Path:
        """Path of the ONNX model that makes a modality's features of raw texts or images.

        Raises:
            KeyError: the bundle has none for this modality; ``manifest.featurizers`` lists those it has.
        """
        if modality not in self.manifest.featurizers:
            raise KeyError(modality)
        return self.directory / featurizer_file(modality)

    def seen(self, user_row: int) -> NDArray[np.int32]:
        """Item rows a user has interacted with in the training data, oldest first."""
        return self.seen_indices[self.seen_indptr[user_row] : self.seen_indptr[user_row + 1]]

    def column(self, name: str) -> Texts | None:
        """A metadata column by item row, '' where an item has no value; None where there is no such column."""
        return self.item_rows.columns[self.item_columns.index(name)] if name in self.item_columns else None

    def let_go(self) -> None:
        """Takes all that was read of the files out of memory; what is needed again comes back from the disk's cache."""
        for array in self.arrays().values():
            let_go(array.base)
        self.item_rows.let_go()

    def metadata(self, item_row: int) -> dict[str, str]:
        """Metadata of one item: column → value, empty values left out."""
        if not self.item_columns:
            return {}
        return {name: value for name, value in zip(self.item_columns, self.item_rows[item_row], strict=True) if value}


def write_bundle(
    directory: Path,
    contents: BundleContents,
    encoder: bytes,
    manifest: Manifest,
    featurizers: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Writes a bundle into an existing empty directory, every file flushed to disk; returns the completed manifest.

    The counts and checksums of ``manifest`` are filled in here; its other facts are the caller's, the kinds of the
    ``featurizers`` (modality → ONNX) among them.

    Raises:
        CorruptBundle: the contents contradict each other or hold values that are not finite.
    """
    models = featurizers or {}
    if set(models) != set(manifest.featurizers):
        raise CorruptBundle(
            directory, f"expected featurizers of {sorted(manifest.featurizers)}, found {sorted(models)}"
        )
    manifest = replace(manifest, n_users=len(contents.users), n_items=len(contents.items))
    check_contents(directory, contents, manifest)
    check_cells(directory, contents)
    for name, array in contents.arrays().items():
        with (directory / f"{name}.npy").open("wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    write_lines(directory / "user_ids.txt", contents.users)
    write_lines(directory / "item_ids.txt", contents.items)
    header = "\t".join(("item", *contents.item_columns))
    rows = contents.item_rows or [()] * len(contents.items)
    write_lines(
        directory / "items.tsv",
        [header, *("\t".join((i, *row)) for i, row in zip(contents.items, rows, strict=True))],
    )
    (directory / "encoder.onnx").write_bytes(encoder)
    for name, model in models.items():
        (directory / featurizer_file(name)).write_bytes(model)
    names = sorted(path.name for path in directory.iterdir())
    manifest = replace(manifest, checksums={name: sha256_of(directory / name) for name in names})
    write_manifest(directory / MANIFEST_NAME, manifest)
    for name in [*names, MANIFEST_NAME]:
        fsync(directory / name)
    fsync(directory)
    return manifest


def load_bundle(directory: Path, *, verify: bool = True) -> Bundle:
    """Reads and checks a bundle.

    Args:
        directory: where the bundle lies.
        verify: also compare every file's sha256 with the manifest (reads all bytes once).

    Raises:
        CorruptBundle: a file is missing, altered, of wrong shape or not finite.
        IncompatibleBundle: written in another format version.
    """
    manifest = read_manifest(directory / MANIFEST_NAME)
    _check_files(directory, manifest, verify=verify)
    items = _read_ids(directory / "item_ids.txt")
    table = read_item_table(directory / "items.tsv", items)
    bundle = Bundle(
        users=_read_ids(directory / "user_ids.txt"),
        items=items,
        user_embeddings=_load(directory, "user_embeddings"),
        item_embeddings=_load(directory, "item_embeddings"),
        history_embeddings=_load(directory, "history_embeddings") if manifest.history else None,
        features={name: _load(directory, f"features_{name}") for name in manifest.modality_names},
        seen_indptr=_load(directory, "seen_indptr"),
        seen_indices=_load(directory, "seen_indices"),
        popularity=_load(directory, "popularity"),
        item_columns=table.names,
        item_rows=table,
        manifest=manifest,
        directory=directory,
    )
    check_contents(directory, bundle, manifest)
    bundle.let_go()
    return bundle


def _check_files(directory: Path, manifest: Manifest, *, verify: bool) -> None:
    if missing := sorted(manifest.required_files - set(manifest.checksums)):
        raise CorruptBundle(directory, f"the manifest lists no {', '.join(missing)}")
    for name, digest in manifest.checksums.items():
        path = directory / name
        if not path.is_file():
            raise CorruptBundle(path, "listed in the manifest, but missing")
        if verify and sha256_of(path) != digest:
            raise CorruptBundle(path, f"expected sha256 {digest}, found other contents")


def _load(directory: Path, name: str) -> NDArray[Any]:
    path = directory / f"{name}.npy"
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")  # never unpickles
    except NO_ARRAY as exc:
        raise CorruptBundle(path, f"unreadable array: {exc}") from exc
    if not array.flags.c_contiguous:
        raise CorruptBundle(path, "expected an array in C order, found Fortran order")
    return array


def _read_ids(path: Path) -> IdMap:
    try:
        return IdMap.of_lines(read_lines(path))
    except InvalidId as exc:
        raise CorruptBundle(path, str(exc)) from exc
