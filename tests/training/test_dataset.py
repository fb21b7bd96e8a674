"""The dataset directory: what is read, and the one error for each defect."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import IdMap
from training.dataset import Dataset, read_dataset
from training.errors import DatasetError
from training.features import ModalityFeatures
from training.interactions import TEST, TRAIN, VAL, Interactions
from training.writing import write_dataset

ITEMS = "item\ttitle\nb\tBoat\na\tAnchor\nc\t\n"
INTERACTIONS = "user\titem\trating\ttimestamp\tsplit\nu2\ta\t4\t10\ttrain\nu1\tb\t5\t20\tval\nu2\tc\t1.5\t30\ttest\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A sound directory of three items and two users."""
    (tmp_path / "items.tsv").write_text(ITEMS, encoding="utf-8")
    (tmp_path / "interactions.tsv").write_text(INTERACTIONS, encoding="utf-8")
    np.save(tmp_path / "features_text.npy", np.array([[1, 2], [np.nan, np.nan], [5, 6]], np.float32))
    np.save(tmp_path / "features_image.npy", np.array([[0.5], [0.25], [np.nan]], np.float16))
    return tmp_path


def interactions(directory: Path, text: str | bytes) -> None:
    """Replaces the interactions."""
    (directory / "interactions.tsv").write_bytes(text.encode() if isinstance(text, str) else text)


def test_read_returns_everything_in_its_order(directory: Path) -> None:
    """Items keep file order, users are sorted, modalities are alphabetical, absent rows are zero."""
    dataset = read_dataset(directory)

    assert list(dataset.users) == ["u1", "u2"]
    assert list(dataset.items) == ["b", "a", "c"]
    assert dataset.interactions.users.tolist() == [1, 0, 1]
    assert dataset.interactions.items.tolist() == [1, 0, 2]
    assert dataset.interactions.ratings is not None
    assert dataset.interactions.ratings.tolist() == [4, 5, 1.5]
    assert dataset.interactions.timestamps is not None
    assert dataset.interactions.timestamps.tolist() == [10, 20, 30]
    assert dataset.interactions.split is not None
    assert dataset.interactions.split.tolist() == [TRAIN, VAL, TEST]
    assert list(dataset.features) == ["image", "text"]
    assert dataset.features["text"].matrix.tolist() == [[1, 2], [0, 0], [5, 6]]
    assert dataset.present.tolist() == [[True, True], [True, False], [False, True]]
    assert dataset.item_columns == ("title",)
    assert dataset.item_rows == (("Boat",), ("Anchor",), ("",))


def test_read_returns_declared_types(directory: Path) -> None:
    """Array types are fixed whatever the files hold."""
    dataset = read_dataset(directory)

    found = dataset.interactions
    arrays = [found.users, found.items, found.ratings, found.timestamps, found.split]
    assert [a.dtype for a in arrays if a is not None] == [np.int32, np.int32, np.float32, np.float64, np.int8]
    assert {features.matrix.dtype for features in dataset.features.values()} == {np.dtype(np.float32)}


def test_read_without_items_table_numbers_items_from_zero(directory: Path) -> None:
    """Where items are 0…n-1, the features say how many there are."""
    (directory / "items.tsv").unlink()
    interactions(directory, "item\tuser\n2\t10\n0\t9\n")

    dataset = read_dataset(directory)

    assert list(dataset.items) == ["0", "1", "2"]
    assert list(dataset.users) == ["9", "10"]
    assert dataset.interactions.items.tolist() == [2, 0]
    assert dataset.interactions.split is None
    assert dataset.item_rows == ()


@pytest.mark.parametrize(("ids", "order"), [("10 9 2", "2 9 10"), ("10 9 x", "10 9 x"), ("10 9 02", "02 10 9")])
def test_users_sort_by_number_only_where_all_are_integers(directory: Path, ids: str, order: str) -> None:
    """Otherwise by code point; an id with a leading zero is text."""
    interactions(directory, "user\titem\n" + "".join(f"{user}\ta\n" for user in ids.split()))

    assert list(read_dataset(directory).users) == order.split()


def test_read_tolerates_crlf_byte_order_mark_and_missing_last_newline(directory: Path) -> None:
    """What spreadsheets and Windows editors write reads the same."""
    expected = read_dataset(directory)
    for name, text in (("items.tsv", ITEMS), ("interactions.tsv", INTERACTIONS)):
        (directory / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode().removesuffix(b"\r\n"))

    dataset = read_dataset(directory)

    assert dataset.item_rows == expected.item_rows
    assert dataset.interactions.items.tolist() == expected.interactions.items.tolist()
    assert dataset.item_columns == ("title",)


def test_read_takes_quotes_and_odd_characters_as_they_are(directory: Path) -> None:
    """Quoting is no part of the format, and a Unicode line separator ends no line."""
    (directory / "items.tsv").write_text('item\ttitle\n"b\t"x" \n#a\t\u2028\nnull\tNA\n', encoding="utf-8")
    interactions(directory, 'user\titem\nnan\t"b\nNULL\t#a\nnan\tnull\n')

    dataset = read_dataset(directory)

    assert list(dataset.items) == ['"b', "#a", "null"]
    assert dataset.item_rows == (('"x" ',), ("\u2028",), ("NA",))
    assert list(dataset.users) == ["NULL", "nan"]


def test_repeated_pair_keeps_the_latest_timestamp(directory: Path) -> None:
    """One interaction per pair remains, the latest, at its place in the file."""
    interactions(directory, "user\titem\ttimestamp\trating\nu\ta\t30\t1\nu\tb\t1\t2\nu\ta\t20\t3\n")

    found = read_dataset(directory).interactions

    assert found.items.tolist() == [1, 0]
    assert found.ratings is not None
    assert found.ratings.tolist() == [1, 2]


def test_repeated_pair_keeps_the_last_line_without_timestamps(directory: Path) -> None:
    """File order stands for time."""
    interactions(directory, "user\titem\trating\nu\ta\t1\nu\tb\t2\nu\ta\t3\n")

    found = read_dataset(directory).interactions

    assert found.items.tolist() == [0, 1]
    assert found.ratings is not None
    assert found.ratings.tolist() == [2, 3]


def test_parquet_reads_like_tsv(directory: Path) -> None:
    """Integers serve as ids, datetimes become seconds, dictionaries and nulls of metadata become text."""
    for name in ("items.tsv", "interactions.tsv"):
        (directory / name).unlink()
    times = pa.array([10_500, 20_000, 30_000], pa.timestamp("ms"))
    split = pa.array(["train", "val", "train"]).dictionary_encode()
    table = {"user": [7, 7, 10], "item": [3, 1, 2], "timestamp": times, "split": split, "rating": [1, 2, 3]}
    pq.write_table(pa.table(table), directory / "interactions.parquet")
    pq.write_table(pa.table({"item": [1, 2, 3], "year": [1999, None, 2001]}), directory / "items.parquet")

    dataset = read_dataset(directory)

    assert list(dataset.users) == ["7", "10"]
    assert dataset.interactions.items.tolist() == [2, 0, 1]
    assert dataset.interactions.timestamps is not None
    assert dataset.interactions.timestamps.tolist() == [10.5, 20, 30]
    assert dataset.interactions.ratings is not None
    assert dataset.item_rows == (("1999",), ("",), ("2001",))


@pytest.mark.parametrize(
    ("text", "line", "expected", "found"),
    [
        ("", 1, "a header line", "an empty file"),
        ("\nu\ta\n", 1, "a header line", "an empty line"),
        ("user\titem\n", None, "at least one interaction", "none"),
        ("user\titem", None, "at least one interaction", "none"),
        ("user\tthing\nu\ta\n", 1, "a column 'item'", "the columns user, thing"),
        ("user\titem\titem\nu\ta\ta\n", 1, "each column once", "'item' 2 times"),
        ("user\titem\t\nu\ta\t\n", 1, "a name for each column", "the columns ['user', 'item', '']"),
        ("user\titem\tstars\nu\ta\t1\n", 1, "only the columns user, item, rating, timestamp, split", "'stars'"),
        ("user\titem\nu\ta\nu\n", 3, "2 columns as in the header", "1 column"),
        ("user\titem\nu\ta\tb\n", 2, "2 columns as in the header", "3 columns"),
        ("user\titem\nu\ta\n\nu\tb\n", 3, "2 columns as in the header", "an empty line"),
        ("user\titem\nu\ta\n\n", 3, "2 columns as in the header", "an empty line"),
        ("user\titem\nu\ta\rb\n", 2, "no carriage return inside a line", "one"),
        (b"user\titem\nu\ta\n\xff\ta\n", 3, "UTF-8 text", "byte 0xff"),
        (b"us\xe9r\titem\nu\ta\n", 1, "UTF-8 text", "byte 0xe9"),
        ("user\titem\nu\ta\n\ta\n", 3, "1 to 256 printable characters in column 'user'", "''"),
        ("user\titem\nu\ta\nv\x07\ta\n", 3, "1 to 256 printable characters in column 'user'", r"'v\x07'"),
        ("user\titem\nu\ta\nu\tz\nv\tz\n", 3, "an item of the items table", "'z'"),
        ("user\titem\trating\nu\ta\t1\nu\tb\tgood\n", 3, "a finite number in column 'rating'", "'good'"),
        ("user\titem\trating\nu\ta\t1\nu\tb\tnan\n", 3, "a finite number in column 'rating'", "'nan'"),
        ("user\titem\trating\nu\ta\t1\nu\tb\t\n", 3, "a finite number in column 'rating'", "''"),
        ("user\titem\trating\nu\ta\t1e39\n", 2, "a finite number in column 'rating'", "'1e39'"),
        ("user\titem\ttimestamp\nu\ta\tinf\n", 2, "a finite number in column 'timestamp'", "'inf'"),
        ("user\titem\tsplit\nu\ta\ttrain\nu\tb\tdev\n", 3, "train, val or test", "'dev'"),
        (
            "user\titem\tsplit\nu\ta\ttrain\nu\tb\tval\nu\ta\ttest\nu\tb\ttest\n",
            4,
            "a pair of user and item in one split",
            "test here and train in line 2",
        ),
    ],
)
def test_defect_of_interactions_is_named(
    directory: Path, text: str | bytes, line: int | None, expected: str, found: str
) -> None:
    """Each defect gets one error with file, line, expectation and finding."""
    interactions(directory, text)

    with pytest.raises(DatasetError) as caught:
        read_dataset(directory)

    assert (caught.value.line, caught.value.expected, caught.value.found) == (line, expected, found)
    place = f"{directory / 'interactions.tsv'}{'' if line is None else f':{line}'}"
    assert str(caught.value) == f"{place}: expected {expected}, found {found}"


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("title\titem\nBoat\tb\n", 1, "a first column 'item'"),
        ("item\n", None, "at least one item"),
        ("item\nb\na\nb\n", 4, "each item once"),
        ("item\nb\n\nc\n", 3, "1 to 256 printable characters in column 'item'"),
        (f"item\nb\n{'x' * 257}\nc\n", 3, "1 to 256 printable characters in column 'item'"),
        ("item\nb\na\n", None, "2 rows, one for each item"),
    ],
)
def test_defect_of_items_is_named(directory: Path, text: str, line: int | None, expected: str) -> None:
    """Each defect of the items table gets one error with its line."""
    (directory / "items.tsv").write_text(text, encoding="utf-8")

    with pytest.raises(DatasetError) as caught:
        read_dataset(directory)

    assert (caught.value.line, caught.value.expected) == (line, expected)


@pytest.mark.parametrize("item", ["3", "-1", "01", "a"])
def test_item_beyond_the_features_is_refused_without_items_table(directory: Path, item: str) -> None:
    """Without an items table only 0…n-1 are items."""
    (directory / "items.tsv").unlink()
    interactions(directory, f"user\titem\nu\t0\nu\t{item}\n")

    with pytest.raises(DatasetError, match=rf"interactions.tsv:3: expected an item 0…2, .*found '{item}'"):
        read_dataset(directory)


def _pickled(path: Path) -> None:
    np.save(path, np.array([{}, 1], dtype=object), allow_pickle=True)


def _archived(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def _headed(header: str) -> Callable[[Path], None]:
    """A file of numpy's with this in place of its header."""
    data = header.encode().ljust(117) + b"\n"
    return lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data)


def _array(values: object, dtype: type) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.array(values, dtype))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_pickled, "expected an .npy array without pickled objects"),
        (lambda path: path.write_bytes(b""), "expected an .npy array without pickled objects"),
        (lambda path: path.write_bytes(b"no array at all"), "expected an .npy array without pickled objects"),
        (_headed("("), "expected an .npy array without pickled objects"),
        (_headed("0x"), "expected an .npy array without pickled objects"),
        (_headed("{1: 2, 'shape': 3}"), "expected an .npy array without pickled objects"),
        (_archived, "expected one .npy array, found an .npz archive"),
        (_array([[1], [2], [3]], np.float64), r"found float64 of shape \(3, 1\)"),
        (_array([[1], [2], [3]], np.int32), r"found int32 of shape \(3, 1\)"),
        (_array([1, 2, 3], np.float32), r"found float32 of shape \(3,\)"),
        (_array([[], [], []], np.float32), r"found float32 of shape \(3, 0\)"),
        (_array([[1], [2]], np.float32), "expected 3 rows, one for each item, found 2 rows"),
        (_array([[1, 1], [2, np.nan], [0, 0]], np.float32), "found 1 NaN and 0 infinite of 2 values in row 1"),
        (_array([[1, 1], [2, 2], [0, np.inf]], np.float16), "found 0 NaN and 1 infinite of 2 values in row 2"),
        (_array([[1, 1], [np.nan, np.nan], [0, -1e38]], np.float32), r"expected numbers of at most 1e\+15"),
    ],
)
def test_defect_of_features_is_named(directory: Path, write: Callable[[Path], None], message: str) -> None:
    """Each defect of a feature file gets one error naming the file and, where one is at fault, the row."""
    write(directory / "features_text.npy")

    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(directory)

    assert caught.value.path == directory / "features_text.npy"


@pytest.mark.parametrize("name", ["features_.npy", "features_Text.npy", "features_2d.npy", "features_a-b.npy"])
def test_malformed_modality_name_is_refused(directory: Path, name: str) -> None:
    """Modality names are lower-case identifiers."""
    np.save(directory / name, np.zeros((3, 1), np.float32))

    with pytest.raises(DatasetError, match="expected a modality name"):
        read_dataset(directory)


def test_missing_files_are_named(directory: Path) -> None:
    """An absent directory, table or feature file is said to be absent."""
    with pytest.raises(DatasetError, match="expected a dataset directory, found none"):
        read_dataset(directory / "nowhere")
    for path in directory.glob("features_*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"expected at least one file features_<modality>.npy"):
        read_dataset(directory)
    (directory / "interactions.tsv").unlink()
    with pytest.raises(DatasetError, match=r"expected a file interactions.tsv or interactions.parquet"):
        read_dataset(directory)


@pytest.mark.parametrize("stem", ["items", "interactions"])
def test_table_in_both_formats_is_refused(directory: Path, stem: str) -> None:
    """Nobody guesses which of two tables is meant."""
    pq.write_table(pa.table({"item": ["b"]}), directory / f"{stem}.parquet")

    with pytest.raises(DatasetError, match=f"expected either {stem}.tsv or {stem}.parquet, found both"):
        read_dataset(directory)


@pytest.mark.parametrize(
    ("columns", "line", "expected"),
    [
        ({"user": [1.0], "item": ["a"]}, None, "strings or integers in column 'user'"),
        ({"user": ["u", None], "item": ["a", "b"]}, 2, "a value in column 'user'"),
        ({"user": ["u"], "item": ["a"], "rating": [[1]]}, None, "numbers in column 'rating'"),
        ({"user": ["u", "u"], "item": ["a", "b"], "rating": [1.0, float("nan")]}, 2, "a finite number"),
        ({"user": ["u"], "item": ["a"], "split": [1]}, None, "train, val or test in column 'split'"),
        ({"user": ["u"], "item": ["a"], "more": [1]}, None, "only the columns"),
    ],
)
def test_defect_of_parquet_is_named_by_row(
    directory: Path, columns: dict[str, list[object]], line: int | None, expected: str
) -> None:
    """Rows of Parquet are counted from 1."""
    (directory / "interactions.tsv").unlink()
    pq.write_table(pa.table(columns), directory / "interactions.parquet")

    with pytest.raises(DatasetError) as caught:
        read_dataset(directory)

    assert caught.value.line == line
    assert caught.value.expected.startswith(expected)


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (pa.array([1_600_000_000_123_456_789, 0], pa.timestamp("ns")), 1_600_000_000.1234567),
        (pa.array([1_600_000_000_123_456_789, 0], pa.timestamp("ns", "UTC")), 1_600_000_000.1234567),
        (pa.array([1_600_000_000_123, 0], pa.timestamp("ms")), 1_600_000_000.123),
        (pa.array([2**50, 0], pa.timestamp("s")), 2.0**50),
        (pa.array([1_600_000_000_123_456_789, 0], pa.int64()), 1_600_000_000_123_456_789.0),
        (pa.array([2**64 - 1, 0], pa.uint64()), 2.0**64),
    ],
    ids=["ns", "ns with zone", "ms", "far ahead", "integers", "large integers"],
)
def test_parquet_times_of_any_precision_are_read(directory: Path, values: pa.Array, seconds: float) -> None:
    """As the nearest number there is."""
    (directory / "interactions.tsv").unlink()
    table = pa.table({"user": ["u", "u"], "item": ["a", "b"], "timestamp": values})
    pq.write_table(table, directory / "interactions.parquet")

    found = read_dataset(directory).interactions.timestamps

    assert found is not None
    assert sorted(found.tolist()) == [0.0, seconds]


@pytest.mark.parametrize("column", ["user", "item"])
def test_parquet_text_that_is_no_utf8_is_refused(directory: Path, column: str) -> None:
    """Whatever wrote it, wrote bytes that cannot be an id."""
    (directory / "interactions.tsv").unlink()
    columns = {"user": pa.array(["u", "v"]), "item": pa.array(["a", "b"])}
    broken = pa.array([b"a", b"caf\xe9"], pa.binary())
    columns[column] = pa.StringArray.from_buffers(2, *broken.buffers()[1:])
    pq.write_table(pa.table(columns), directory / "interactions.parquet")

    with pytest.raises(DatasetError, match=r"text in UTF-8.*UTF8"):
        read_dataset(directory)


@pytest.mark.parametrize("name", ["x\ty", "x\ny", "x\ry"])
def test_parquet_columns_that_no_table_of_text_can_name_are_refused(directory: Path, name: str) -> None:
    """A bundle's items.tsv could not have them, which is said before anything is trained."""
    (directory / "items.tsv").unlink()
    pq.write_table(pa.table({"item": ["b", "a", "c"], name: ["", "x", ""]}), directory / "items.parquet")

    with pytest.raises(DatasetError, match="no tab and no line end in the name of a column"):
        read_dataset(directory)


def test_parquet_metadata_with_a_tab_is_refused(directory: Path) -> None:
    """What no items.tsv of a bundle could carry is noticed at the door."""
    (directory / "items.tsv").unlink()
    pq.write_table(pa.table({"item": ["b", "a", "c"], "title": ["", "x\ty", ""]}), directory / "items.parquet")

    with pytest.raises(DatasetError, match=r"items.parquet:2: expected no tab and no line end in column 'title'"):
        read_dataset(directory)


def test_file_that_is_no_parquet_is_refused(directory: Path) -> None:
    """A wrong suffix is no crash."""
    (directory / "interactions.tsv").rename(directory / "interactions.parquet")

    with pytest.raises(DatasetError, match="expected a Parquet file"):
        read_dataset(directory)


def test_features_mask_and_return_to_nan() -> None:
    """Masking hides rows, and hidden rows are NaN on disk."""
    features = ModalityFeatures.from_nan(np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32))

    masked = features.masked(np.array([True, True, False]))

    assert features.dim == 2
    assert masked.present.tolist() == [True, False, False]
    assert masked.matrix.tolist() == [[1, 2], [0, 0], [0, 0]]
    np.testing.assert_array_equal(masked.with_nan(), [[1, 2], [np.nan] * 2, [np.nan] * 2])
    assert features.matrix[2].tolist() == [3, 4]


_IDS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=5)
_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    items=st.lists(_IDS, min_size=1, max_size=5, unique=True),
    pairs=st.lists(st.tuples(_IDS, st.integers(0), _FLOATS, _FLOATS), min_size=1, max_size=12),
    present=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_written_data_set_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[str],
    pairs: list[tuple[str, int, float, float]],
    present: list[bool],
) -> None:
    """Writing loses nothing, whatever the ids and numbers."""
    unique = {(user, row % len(items)): (rating, time) for user, row, rating, time in pairs}
    users = IdMap(sorted({user for user, _ in unique}))
    features = ModalityFeatures(np.ones((len(items), 2), np.float32), np.ones(len(items), np.bool_))
    original = Dataset(
        users=users,
        items=IdMap(items),
        interactions=Interactions(
            users=users.rows([user for user, _ in unique]).astype(np.int32),
            items=np.array([row for _, row in unique], np.int32),
            ratings=np.array([rating for rating, _ in unique.values()], np.float32),
            timestamps=np.array([time for _, time in unique.values()], np.float64),
            split=np.arange(len(unique), dtype=np.int8) % np.int8(3),
        ),
        features={"text": features.masked(np.array(present[: len(items)]))},
        item_columns=("title",),
        item_rows=tuple((item,) for item in items),
    )
    directory = tmp_path_factory.mktemp("data") / "set"

    write_dataset(directory, original)
    found = read_dataset(directory)

    # Users are equal but for their order where all of them are integers.
    pairs_of = [
        list(zip(d.users.ids(d.interactions.users), d.items.ids(d.interactions.items), strict=True))
        for d in (original, found)
    ]
    assert pairs_of[0] == pairs_of[1]
    assert found.items == original.items
    for name in ("ratings", "timestamps", "split"):
        np.testing.assert_array_equal(getattr(found.interactions, name), getattr(original.interactions, name))
    np.testing.assert_array_equal(found.features["text"].matrix, original.features["text"].matrix)
    np.testing.assert_array_equal(found.present, original.present)
    assert found.item_rows == original.item_rows


def test_featurizers_are_found_and_copied(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The models beside the features belong to the data set, also where it is written anew."""
    (directory / "featurizer_text.onnx").write_bytes(b"a model")
    target = tmp_path_factory.mktemp("copy") / "set"

    dataset = read_dataset(directory)
    write_dataset(target, dataset)

    assert dataset.featurizers == {"text": directory / "featurizer_text.onnx"}
    assert read_dataset(target).featurizers == {"text": target / "featurizer_text.onnx"}
    assert (target / "featurizer_text.onnx").read_bytes() == b"a model"


@pytest.mark.parametrize("name", ["audio", "Text", ""])
def test_featurizer_without_features_is_refused(directory: Path, name: str) -> None:
    """A misspelt name is no reason to publish without the model; the error names the file."""
    (directory / f"featurizer_{name}.onnx").write_bytes(b"a model")

    with pytest.raises(DatasetError, match=rf"featurizer_{name}\.onnx: expected features_{name}\.npy beside it, found"):
        read_dataset(directory)


def test_write_refuses_a_directory_with_files(directory: Path) -> None:
    """Features of an earlier data set would otherwise join the new one."""
    with pytest.raises(DatasetError, match="expected a new or empty directory"):
        write_dataset(directory, read_dataset(directory))
