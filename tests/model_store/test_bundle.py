"""Bundles: what is written comes back, and nothing that is not sound is ever written or read."""

import io
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from model_store import (
    BundleContents,
    CorruptBundle,
    HistoryRule,
    IdMap,
    LeastSquaresRule,
    Manifest,
    ModelStoreError,
)
from model_store.bundle import load_bundle, write_bundle

MakeManifest = Callable[..., Manifest]
Sign = Callable[..., None]
IDS = st.text(
    st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from("\u2028\u2029🙂"), min_size=1, max_size=8
)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n"), max_size=8)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
NAN, INF = float("nan"), float("inf")


def _table(draw: st.DrawFn, *shape: int) -> NDArray[np.float32]:
    return draw(hnp.arrays(np.float32, shape, elements=FLOATS))


@st.composite
def bundles(draw: st.DrawFn) -> tuple[BundleContents, Manifest]:
    """Any small sound bundle: no users, no items, no modalities and no history among them."""
    users, items = (IdMap(draw(st.lists(IDS, unique=True, max_size=4))) for _ in range(2))
    d = draw(st.integers(1, 3))
    modalities = draw(st.dictionaries(st.sampled_from(["audio", "image", "text_2"]), st.integers(1, 3)))
    features = {name: _table(draw, len(items), d_m) for name, d_m in modalities.items()}
    for table in features.values():
        table[draw(hnp.arrays(np.bool_, len(items)))] = np.nan
    diagonal = st.lists(st.floats(1e-3, 1e3), min_size=d, max_size=d).map(tuple)
    most = st.integers(1, 2000)
    regression = st.builds(LeastSquaresRule, diagonal=diagonal, ridge=st.floats(0, 1), max_items=most)
    history = draw(st.none() | st.builds(HistoryRule, alpha=FLOATS, max_items=most) | regression)
    seen = [draw(st.lists(st.integers(0, len(items) - 1), max_size=3)) if len(items) else [] for _ in users]
    columns = tuple(draw(st.lists(CELLS.filter(lambda name: name not in {"", "item"}), unique=True, max_size=2)))
    contents = BundleContents(
        users=users,
        items=items,
        user_embeddings=_table(draw, len(users), d),
        item_embeddings=_table(draw, len(items), d),
        history_embeddings=_table(draw, len(items), d) if history else None,
        features=features,
        seen_indptr=np.cumsum([0, *map(len, seen)], dtype=np.int64),
        seen_indices=np.array([row for rows in seen for row in rows], dtype=np.int32),
        popularity=_table(draw, len(items)),
        item_columns=columns,
        item_rows=[tuple(draw(CELLS) for _ in columns) for _ in items],
    )
    return contents, Manifest("v1", "test", "2026-01-01T00:00:00Z", d, 0, 0, modalities, history)


@settings(deadline=None, max_examples=40)  # flushes to disk take as long as they take
@given(bundle=bundles(), encoder=st.binary(max_size=20))
def test_loading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, bundle: tuple[BundleContents, Manifest], encoder: bytes
) -> None:
    """Ids, arrays bit by bit, metadata, encoder and facts survive the round trip, whatever their sizes."""
    contents, manifest = bundle
    directory = tmp_path_factory.mktemp("bundle")

    written = write_bundle(directory, contents, encoder, manifest)
    loaded = load_bundle(directory)

    assert (loaded.users, loaded.items) == (contents.users, contents.items)
    assert loaded.manifest == written
    assert loaded.encoder_path.read_bytes() == encoder
    assert (loaded.item_columns, list(loaded.item_rows)) == (contents.item_columns, contents.item_rows)
    assert loaded.arrays().keys() == contents.arrays().keys()
    for name, array in contents.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array, err_msg=name, strict=True)


def test_bundle_folds_users_in_by_its_regression(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """Rule and tables are read back together: a user encodes as before the bundle was written."""
    rule = LeastSquaresRule((0.5, 2.0), ridge=0.1, max_items=3)
    write_bundle(tmp_path, contents, b"", make_manifest(history=rule))

    loaded = load_bundle(tmp_path)

    assert loaded.manifest.history == rule
    assert loaded.history_embeddings is not None
    assert contents.history_embeddings is not None
    user = loaded.manifest.history.encode(loaded.history_embeddings[loaded.seen(0)])
    assert user.any()
    assert user.tolist() == rule.encode(contents.history_embeddings[[3, 0]]).tolist()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden bundle, copied once to where it may be damaged."""
    golden = Path(__file__).parents[1] / "data" / "bundle_v1"
    return shutil.copytree(golden, tmp_path_factory.mktemp("sound") / "bundle")


@settings(deadline=None)  # flushes to disk take as long as they take
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_detected(sound: Path, data: st.DataObject) -> None:
    """Whatever file, byte and bit: a store error refuses the bundle, and never another exception."""
    path = data.draw(st.sampled_from(sorted(sound.iterdir())), label="file")
    original = path.read_bytes()
    offset = data.draw(st.integers(0, len(original) - 1), label="offset")
    damaged = bytearray(original)
    damaged[offset] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    path.write_bytes(damaged)

    try:
        with pytest.raises(ModelStoreError):
            load_bundle(sound, verify=True)
    finally:
        path.write_bytes(original)


@settings(deadline=None)  # flushes to disk take as long as they take
@given(data=st.data())
def test_damage_that_is_not_looked_for_still_gives_no_other_error(sound: Path, data: st.DataObject) -> None:
    """Without comparing checksums a damaged bundle either loads or is refused with a store error."""
    path = data.draw(st.sampled_from(sorted(sound.iterdir())), label="file")
    original = path.read_bytes()
    length = data.draw(st.integers(0, len(original)), label="length")
    path.write_bytes(original[:length] + data.draw(st.binary(max_size=40), label="tail"))

    try:
        load_bundle(sound, verify=False)
    except ModelStoreError:
        pass
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize("name", ["encoder.onnx", "item_embeddings.npy", "items.tsv", "user_ids.txt", "manifest.json"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_missing_file_is_detected(bundle_directory: Path, name: str, *, verify: bool) -> None:
    """Every file is looked for, whether or not its bytes are compared."""
    (bundle_directory / name).unlink()

    with pytest.raises(CorruptBundle):
        load_bundle(bundle_directory, verify=verify)


@pytest.mark.parametrize("name", ["user_embeddings.npy", "features_text.npy", "history_embeddings.npy", "encoder.onnx"])
def test_a_file_the_manifest_does_not_vouch_for_is_refused(bundle_directory: Path, sign: Sign, name: str) -> None:
    """A file without checksum is not read, even where it lies in its place."""
    data = (bundle_directory / name).read_bytes()
    (bundle_directory / name).unlink()
    sign(bundle_directory)
    (bundle_directory / name).write_bytes(data)

    with pytest.raises(CorruptBundle, match=f"lists no {name}"):
        load_bundle(bundle_directory)


def test_arrays_are_mapped_and_read_only(bundle_directory: Path) -> None:
    """A loaded table costs no memory of its own and cannot be changed in place."""
    bundle = load_bundle(bundle_directory)

    assert all(isinstance(array, np.memmap) for array in bundle.arrays().values())
    with pytest.raises(ValueError, match="read-only"):
        bundle.user_embeddings[0, 0] = 1


def test_seen_items_come_oldest_first(bundle_directory: Path) -> None:
    """The seen list of a user is the slice of the CSR arrays, order kept, empty where there is nothing."""
    bundle = load_bundle(bundle_directory)

    assert [bundle.seen(row).tolist() for row in range(3)] == [[3, 0], [], [1]]


def test_metadata_leaves_empty_values_out(bundle_directory: Path) -> None:
    """An item's metadata names only the columns it has a value for."""
    bundle = load_bundle(bundle_directory)

    assert bundle.metadata(0) == {"title": "Zero", "category": "a"}
    assert bundle.metadata(1) == {"title": "One"}
    assert bundle.metadata(2) == {}


def test_a_bundle_without_metadata_has_none(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """Items without any metadata column are sound, and their metadata is empty."""
    write_bundle(tmp_path, replace(contents, item_columns=(), item_rows=()), b"", make_manifest())

    assert load_bundle(tmp_path).metadata(0) == {}


def test_columns_hold_the_values_by_row(bundle_directory: Path) -> None:
    """Metadata can be had by column and by row, empty values included; other columns and rows there are none."""
    bundle = load_bundle(bundle_directory)
    titles = bundle.column("title")

    assert titles is not None
    assert list(titles) == ["Zero", "One", "", "Three"]
    assert titles.take([3, 0]) == ["Three", "Zero"]
    assert bundle.column("brand") is None
    assert bundle.item_rows[1] == ("One", "")
    assert bundle.item_rows[2:] == [("", ""), ("Three", "b")]
    with pytest.raises(IndexError):
        bundle.item_rows[4]


def test_what_was_let_go_comes_back(bundle_directory: Path) -> None:
    """A bundle that was taken out of memory reads as before."""
    bundle = load_bundle(bundle_directory)
    arrays, rows = {name: array.tolist() for name, array in bundle.arrays().items()}, list(bundle.item_rows)

    bundle.let_go()

    np.testing.assert_equal({name: array.tolist() for name, array in bundle.arrays().items()}, arrays)
    assert list(bundle.item_rows) == rows


def test_ids_that_look_like_line_ends_survive(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """Only a newline ends a line: U+2028, U+2029, emoji and a byte order mark are parts of ids."""
    items = IdMap(["\u2028", "a\u2029b", "🙂", "\ufeff"])

    write_bundle(tmp_path, replace(contents, items=items), b"", make_manifest())

    assert load_bundle(tmp_path).items == items


def test_counts_and_checksums_are_filled_in(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """The writer counts; a caller's numbers of users and items are not believed."""
    manifest = write_bundle(tmp_path, contents, b"", make_manifest(n_users=99, n_items=99))

    assert (manifest.n_users, manifest.n_items) == (3, 4)
    assert set(manifest.checksums) == {path.name for path in tmp_path.iterdir()} - {"manifest.json"}


def test_fortran_order_is_stored_as_c_order(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """The engines read rows; a table in column order is turned on the way to disk, values unchanged."""
    columns_first = np.asfortranarray(contents.item_embeddings)

    write_bundle(tmp_path, replace(contents, item_embeddings=columns_first), b"", make_manifest())

    loaded = load_bundle(tmp_path).item_embeddings
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, columns_first)


def test_an_absent_row_is_all_nan(tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest) -> None:
    """A row of NaN among the features means the modality is missing, even for every item."""
    absent = np.full((4, 3), NAN, dtype=np.float32)

    write_bundle(tmp_path, replace(contents, features={**contents.features, "text": absent}), b"", make_manifest())

    assert np.isnan(load_bundle(tmp_path).features["text"]).all()


def _with(array: NDArray[Any], value: float, *at: int) -> NDArray[Any]:
    changed = array.copy()
    changed[at] = value
    return changed


UNSOUND: dict[str, Callable[[BundleContents], dict[str, Any]]] = {
    "half-NaN features": lambda c: {"features": {**c.features, "text": _with(c.features["text"], NAN, 0, 1)}},
    "infinite features": lambda c: {"features": {**c.features, "text": _with(c.features["text"], INF, 0, 1)}},
    "NaN in a user": lambda c: {"user_embeddings": _with(c.user_embeddings, NAN, 0, 0)},
    "a user of NaN": lambda c: {"user_embeddings": _with(c.user_embeddings, NAN, 0)},
    "inf in an item": lambda c: {"item_embeddings": _with(c.item_embeddings, -INF, 1, 1)},
    "NaN in history": lambda c: {"history_embeddings": _with(c.history_embeddings, NAN, 1, 1)},  # type: ignore[arg-type]
    "NaN popularity": lambda c: {"popularity": _with(c.popularity, NAN, 0)},
    "a user too few": lambda c: {"user_embeddings": c.user_embeddings[:-1]},
    "an item too many": lambda c: {"item_embeddings": np.vstack([c.item_embeddings, c.item_embeddings[:1]])},
    "wrong d": lambda c: {"user_embeddings": c.user_embeddings[:, :1]},
    "wrong d_m": lambda c: {"features": {**c.features, "text": c.features["text"][:, :2]}},
    "transposed": lambda c: {"item_embeddings": c.item_embeddings.T},
    "flat": lambda c: {"item_embeddings": c.item_embeddings.ravel()},
    "float64": lambda c: {"item_embeddings": c.item_embeddings.astype(np.float64)},
    "float16 features": lambda c: {"features": {**c.features, "text": c.features["text"].astype(np.float16)}},
    "big-endian": lambda c: {"item_embeddings": c.item_embeddings.astype(">f4")},
    "objects": lambda c: {"item_embeddings": c.item_embeddings.astype(object)},
    "int64 indices": lambda c: {"seen_indices": c.seen_indices.astype(np.int64)},
    "int32 indptr": lambda c: {"seen_indptr": c.seen_indptr.astype(np.int32)},
    "NaN indptr": lambda _: {"seen_indptr": np.full(4, np.nan)},
    "scalar indptr": lambda _: {"seen_indptr": np.int64(3)},
    "empty indptr": lambda c: {"seen_indptr": c.seen_indptr[:0]},
    "indptr from 1": lambda _: {"seen_indptr": np.array([1, 2, 2, 3])},
    "falling indptr": lambda _: {"seen_indptr": np.array([0, 3, 2, 3])},
    "indptr too long": lambda _: {"seen_indptr": np.array([0, 2, 2, 4])},
    "seen a row too high": lambda c: {"seen_indices": _with(c.seen_indices, 4, 0)},
    "seen a negative row": lambda c: {"seen_indices": _with(c.seen_indices, -1, 0)},
    "a modality missing": lambda c: {"features": {"text": c.features["text"]}},
    "a modality too many": lambda c: {"features": {**c.features, "audio": c.features["text"]}},
    "no history": lambda _: {"history_embeddings": None},
    "an id too many": lambda _: {"items": IdMap(["i0", "i1", "i2", "i3", "i4"])},
    "rows missing": lambda c: {"item_rows": c.item_rows[:-1]},
    "no rows": lambda _: {"item_rows": []},
    "a cell missing": lambda c: {"item_rows": [*c.item_rows[:-1], ("Three",)]},
    "a tab": lambda c: {"item_rows": [*c.item_rows[:-1], ("Th\tree", "b")]},
    "a newline": lambda c: {"item_rows": [*c.item_rows[:-1], ("Th\nree", "b")]},
    "a surrogate": lambda c: {"item_rows": [*c.item_rows[:-1], ("Th\ud800ree", "b")]},
    "a column twice": lambda _: {"item_columns": ("title", "title")},
    "a column named item": lambda _: {"item_columns": ("item", "title")},
    "a column without name": lambda _: {"item_columns": ("", "title")},
    "a tab in a column": lambda _: {"item_columns": ("a\tb", "title")},
}


@pytest.mark.parametrize("case", UNSOUND)
def test_unsound_contents_are_not_written(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest, case: str
) -> None:
    """Wrong shapes, types and counts, values that are not finite and text that would break a line write no file."""
    unsound = replace(contents, **UNSOUND[case](contents))

    with pytest.raises(CorruptBundle):
        write_bundle(tmp_path, unsound, b"", make_manifest())

    assert list(tmp_path.iterdir()) == []


def test_history_embeddings_without_a_rule_are_refused(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest
) -> None:
    """Embeddings nobody knows how to fold are as bad as a rule without embeddings."""
    with pytest.raises(CorruptBundle, match="belong together"):
        write_bundle(tmp_path, contents, b"", make_manifest(history=None))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 2), dtype=np.float64),
        np.zeros((4, 2), dtype=">f4"),
        np.zeros((2, 4), dtype=np.float32),
        np.zeros((4, 2), dtype=np.float32, order="F"),
        np.full((4, 2), NAN, dtype=np.float32),
        np.float32(1),
    ],
    ids=["float64", "big-endian", "transposed", "Fortran order", "NaN", "scalar"],
)
def test_a_wrong_array_is_refused_even_when_sealed(bundle_directory: Path, sign: Sign, array: NDArray[Any]) -> None:
    """A right checksum does not make an array right: shape, type, byte order, memory order and values are checked."""
    np.save(bundle_directory / "item_embeddings.npy", array)
    sign(bundle_directory)

    with pytest.raises(CorruptBundle):
        load_bundle(bundle_directory)


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


class _Trap:
    """Unpickling it would raise AssertionError."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (_spring, ("unpickled",))


def _spring(reason: str) -> None:
    raise AssertionError(reason)


@pytest.mark.parametrize(
    "data",
    [
        _saved(lambda file: np.save(file, np.array([_Trap()], dtype=object), allow_pickle=True)),
        pickle.dumps(_Trap()),
        _saved(lambda file: np.savez(file, np.zeros((4, 2), dtype=np.float32))),
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\x76\x00" + b"{1: 2, 'shape': 3}".ljust(117) + b"\n",
    ],
    ids=["object array", "pickle", "npz", "empty", "cut header", "keys of two kinds"],
)
def test_what_is_no_plain_array_is_never_unpickled(bundle_directory: Path, sign: Sign, data: bytes) -> None:
    """Pickles, object arrays and archives in an array's place are refused without running anything in them."""
    (bundle_directory / "item_embeddings.npy").write_bytes(data)
    sign(bundle_directory)

    with pytest.raises(CorruptBundle, match="unreadable array"):
        load_bundle(bundle_directory)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("user_ids.txt", "u0\nu1\n"),
        ("user_ids.txt", "u0\nu1\nu1\n"),
        ("user_ids.txt", "u0\n\nu2\n"),
        ("user_ids.txt", "u0\nu1\nu2\nu3"),
        ("user_ids.txt", "u0\r\nu1\r\nu2\r\n"),
        ("item_ids.txt", "i1\ni0\ni2\ni3\n"),
        ("items.tsv", ""),
        ("items.tsv", "id\ni0\ni1\ni2\ni3\n"),
        ("items.tsv", "item\ttitle\ni0\ta\ni1\ta\ni2\ta\ni3\n"),
        ("items.tsv", "item\ni1\ni0\ni2\ni3\n"),
        ("items.tsv", "item\ni0\ni1\ni2\n"),
        ("items.tsv", "item\ttitle\ttitle\ni0\t\t\ni1\t\t\ni2\t\t\ni3\t\t\n"),
    ],
)
def test_wrong_texts_are_refused_even_when_sealed(bundle_directory: Path, sign: Sign, name: str, text: str) -> None:
    """Ids missing, double, empty, cut off or in another order than elsewhere, and ragged metadata, are found."""
    (bundle_directory / name).write_text(text, encoding="utf-8", newline="")
    sign(bundle_directory)

    with pytest.raises(CorruptBundle):
        load_bundle(bundle_directory)


def test_a_text_that_is_no_utf8_is_refused(bundle_directory: Path, sign: Sign) -> None:
    """Bytes of another encoding are an error of the bundle, not of the reader."""
    (bundle_directory / "user_ids.txt").write_bytes("ü0\nü1\nü2\n".encode("latin-1"))
    sign(bundle_directory)

    with pytest.raises(CorruptBundle, match="unreadable text"):
        load_bundle(bundle_directory)
