"""``python -m training collect``: each rule by which a data set and a journal become the next data set."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, EraseUser, Interact, Item, PutItem
from service.facets import key_of
from training.commands import main
from training.dataset import Dataset, read_dataset
from training.watermark import Watermark, write_watermark

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Collect = Callable[[], Dataset]
Write = Callable[..., None]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Three items with titles and years, features of images and texts, and four interactions with times."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "items.tsv").write_text("item\ttitle\tyear\na\tAnchor\t1990\nb\tBoat\t1991\nc\tCompass\t1992\n")
    (directory / "interactions.tsv").write_text("user\titem\ttimestamp\nu1\ta\t10\nu1\tb\t20\nu2\tb\t30\nu2\tc\t40\n")
    np.save(directory / "features_image.npy", np.array([[1, 1], [2, 2], [np.nan, np.nan]], np.float32))
    np.save(directory / "features_text.npy", np.array([[1, 1, 1], [2, 2, 2], [3, 3, 3]], np.float32))
    return directory


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    """The journal of a service that runs."""
    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.sqlite3")
    yield journal
    journal.close()


@pytest.fixture
def write(journal: SqlJournal) -> Write:
    """Writes entries, one after the other."""

    def write_all(*entries: object) -> None:
        for entry in entries:
            journal.append(entry).result()

    return write_all


@pytest.fixture
def collect(tmp_path: Path, base: Path, journal: SqlJournal) -> Collect:
    """Runs the command and reads what it made; the base and the journal are as they were."""

    def run() -> Dataset:
        before = {path: path.read_bytes() for path in base.iterdir()}, list(map(str, journal.read()))
        url = f"sqlite:///{tmp_path}/journal.sqlite3"
        assert main(["collect", "--journal", url, "--base", str(base), "--out", str(tmp_path / "deep" / "out")]) == 0
        assert before == ({path: path.read_bytes() for path in base.iterdir()}, list(map(str, journal.read())))
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
        return read_dataset(tmp_path / "deep" / "out")

    return run


def vector(*numbers: float) -> np.ndarray:
    """A feature vector."""
    return np.array(numbers, np.float32)


def pairs(dataset: Dataset) -> list[tuple[str, str, float | None, int | None]]:
    """User, item, time and split of each interaction, in the order of the file."""
    found = dataset.interactions
    times = [None] * len(found) if found.timestamps is None else found.timestamps.tolist()
    splits = [None] * len(found) if found.split is None else found.split.tolist()
    users, items = dataset.users.ids(found.users.tolist()), dataset.items.ids(found.items.tolist())
    return list(zip(users, items, times, splits, strict=True))


def cells(dataset: Dataset, item_id: str) -> dict[str, str]:
    """The metadata of an item."""
    return dict(zip(dataset.item_columns, dataset.item_rows[dataset.items.row(item_id)], strict=True))


def features(dataset: Dataset, item_id: str) -> dict[str, list[float]]:
    """The features of an item, those it has."""
    row = dataset.items.row(item_id)
    return {name: f.matrix[row].tolist() for name, f in dataset.features.items() if f.present[row]}


def test_empty_journal_changes_nothing(base: Path, collect: Collect, capsys: pytest.CaptureFixture[str]) -> None:
    """The base comes out as it went in, marked as reaching to the journal's beginning."""
    before, after = read_dataset(base), collect()

    assert (after.users, after.items, after.item_columns, after.item_rows) == (
        before.users, before.items, before.item_columns, before.item_rows
    )  # fmt: skip
    assert pairs(after) == pairs(before)
    assert [features(after, item) for item in "abc"] == [features(before, item) for item in "abc"]
    assert after.journal is not None
    assert after.journal.seq == 0
    assert capsys.readouterr().out.splitlines() == [
        "users          2 → 2",
        "items          3 → 3: 0 new, 0 described anew, 0 deleted",
        "interactions   4 → 4: 0 were made online",
        f"watermark      0 of journal {after.journal.identity}",
    ]


def test_watermark_is_the_last_record(journal: SqlJournal, write: Write, collect: Collect) -> None:
    """The mark names the journal and its highest number, whatever that record was about."""
    write(Interact("u1", "c"), PutItem(Item("d")), EraseUser("nobody"))

    mark = collect().journal

    assert mark is not None
    assert (mark.identity, mark.seq) == (journal.identity, 3)


def test_interactions_come_with_their_times(write: Write, collect: Collect, journal: SqlJournal) -> None:
    """The client's time holds, else that of writing; new users are users like any other."""
    write(Interact("u1", "c", at=NOON), Interact("new", "a", kind="buy"))
    written = [record.at.timestamp() for record in journal.read()]

    assert pairs(collect())[4:] == [("u1", "c", NOON.timestamp(), None), ("new", "a", written[1], None)]


def test_one_wrong_time_does_not_change_the_unit(base: Path, write: Write, collect: Collect) -> None:
    """An interaction dated far in the future, as broken clocks do, is one against all others."""
    lines = "".join(f"u{user}\ta\t1700000000\n" for user in range(3))
    (base / "interactions.tsv").write_text(f"user\titem\ttimestamp\n{lines}u9\ta\t1700000000000\n")
    write(Interact("u1", "b", at=NOON))

    assert pairs(collect())[-1] == ("u1", "b", NOON.timestamp(), None)


@pytest.mark.parametrize(("then", "scale"), [(1.7e9, 1), (1.7e12, 1e3), (1.7e15, 1e6), (1.7e18, 1e9), (3.5, 1)])
def test_times_are_in_the_unit_of_the_base(
    base: Path, write: Write, collect: Collect, then: float, scale: float
) -> None:
    """Seconds, milli-, micro- and nanoseconds since 1970 are told apart; before any of them, what is small."""
    (base / "interactions.tsv").write_text(f"user\titem\ttimestamp\nu1\ta\t{then:f}\n")
    write(Interact("u1", "b", at=NOON))

    assert [time for _, _, time, _ in pairs(collect())] == [then, NOON.timestamp() * scale]


def test_without_times_online_interactions_follow(base: Path, write: Write, collect: Collect) -> None:
    """Where file order stands for time, they come last, the oldest first, and none gets a time."""
    (base / "interactions.tsv").write_text("user\titem\nu1\ta\nu2\tb\n")
    write(Interact("u1", "c"), Interact("u1", "b", at=NOON), Interact("u1", "a"))

    assert pairs(collect()) == [
        ("u2", "b", None, None), ("u1", "b", None, None), ("u1", "c", None, None), ("u1", "a", None, None)
    ]  # fmt: skip


def test_split_of_the_base_is_kept_and_what_is_new_trains(base: Path, write: Write, collect: Collect) -> None:
    """A tested pair that happens again stays tested, at its later time; repeated new ones count once."""
    (base / "interactions.tsv").write_text(
        "user\titem\ttimestamp\tsplit\nu1\ta\t1\ttrain\nu1\tb\t2\ttest\nu2\ta\t3\tval\n"
    )
    later = [NOON.replace(hour=hour) for hour in (13, 14, 15)]
    write(Interact("u1", "b", at=later[0]), Interact("u2", "c", at=later[2]), Interact("u2", "c", at=later[1]))

    assert pairs(collect()) == [
        ("u1", "a", 1, 0),
        ("u2", "a", 3, 1),
        ("u1", "b", later[0].timestamp(), 2),
        ("u2", "c", later[2].timestamp(), 0),
    ]


def test_erased_users_are_forgotten(write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the base as well; what they do afterwards counts."""
    write(Interact("u1", "c"), EraseUser("u1"), EraseUser("u2"), Interact("u2", "a", at=NOON), Interact("u3", "a"))

    after = collect()

    assert list(after.users) == ["u2", "u3"]
    assert [(user, item) for user, item, _, _ in pairs(after)] == [("u2", "a"), ("u3", "a")]
    assert "  dropped 4 of users who were erased\n" in capsys.readouterr().out


def test_interactions_with_items_that_are_not_there_are_dropped(
    write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deleted ones and ones that nobody described are counted apart; one that was put again is there."""
    write(
        *(Interact("u1", item) for item in ("never", "d", "e", "b")),
        *(PutItem(Item(item)) for item in "de"),
        *(DeleteItem(item) for item in "deb"),
        PutItem(Item("d")),
    )

    after = collect()

    assert list(after.items) == ["a", "c", "d"]
    assert {(user, item) for user, item, _, _ in pairs(after)} == {("u1", "a"), ("u1", "d"), ("u2", "c")}
    out = capsys.readouterr().out
    assert "items          3 → 3: 1 new, 0 described anew, 1 deleted\n" in out
    assert "  dropped 4 with items that were deleted\n" in out
    assert "  dropped 1 with items that nobody described\n" in out


def test_latest_record_replaces_an_item(write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words and its features alike: what it no longer says, it no longer has."""
    write(
        PutItem(Item("a", {"image": vector(8, 8)}, title="First", attributes={"year": 1})),
        PutItem(Item("a", {"text": vector(9, 9, 9)}, title="Second", attributes={"size": 2})),
        PutItem(Item("new", {"image": vector(7, 7)}, categories=("x", "y|z"))),
    )

    after = collect()

    assert list(after.items) == ["a", "b", "c", "new"]
    assert after.item_columns == ("title", "year", "categories", "size")
    assert cells(after, "a") == {"title": "Second", "year": "", "categories": "", "size": "2"}
    assert cells(after, "b") == {"title": "Boat", "year": "1991", "categories": "", "size": ""}
    assert cells(after, "new") == {"title": "", "year": "", "categories": "x|y z", "size": ""}
    assert [features(after, item) for item in ("a", "b", "c", "new")] == [
        {"text": [9, 9, 9]},
        {"image": [2, 2], "text": [2, 2, 2]},
        {"text": [3, 3, 3]},
        {"image": [7, 7]},
    ]
    assert "items          3 → 4: 1 new, 1 described anew, 0 deleted\n" in capsys.readouterr().out


def test_items_that_are_not_shown_stay(write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden, unavailable and expired items may come back, and what people did with them tells of them."""
    write(
        PutItem(Item("a", hidden=True)),
        PutItem(Item("b", available=False)),
        PutItem(Item("c", expires_at=NOON.replace(year=2000))),
        PutItem(Item("d", expires_at=NOON.replace(year=9999))),
    )

    assert list(collect().items) == ["a", "b", "c", "d"]
    assert "  3 items that are not shown for now stay: they may come back\n" in capsys.readouterr().out


def test_attributes_are_found_again_as_text(write: Write, collect: Collect) -> None:
    """Whatever the value, the service compares its text as it compares the value itself."""
    values = {"n": 7, "x": 7.5, "tiny": 1e-7, "huge": 1e300, "minus": -2, "yes": True, "no": False, "t": "007"}
    write(PutItem(Item("new", attributes=values)))

    found = cells(collect(), "new")

    assert {name: key_of(found[name]) for name in values} == {name: key_of(value) for name, value in values.items()}
    assert found["yes"] == "true"


def test_words_that_no_table_can_carry_are_cleaned(
    write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tabs and line ends become spaces, in names of attributes too; an attribute must not pose as a title."""
    attributes = {"a\tb": "x\r\ny", "title": "Fake", "item": "z", "categories": "q", "blank": ""}
    write(PutItem(Item("new", title="One\nTwo\t", categories=("p\tq",), attributes=attributes)))

    assert {name: text for name, text in cells(collect(), "new").items() if text} == {
        "title": "One Two ", "categories": "p q", "a b": "x y"
    }  # fmt: skip
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if "ignored" in line] == [
        f"  ignored 1 attributes called {name!r}: the name is taken" for name in ("categories", "item", "title")
    ]


def test_features_that_do_not_fit_are_ignored(
    base: Path, write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an unknown modality, another width, or another featurizer: the item lacks them, and it is said how often."""
    (base / "featurizer_text.onnx").write_bytes(b"model")
    sha256 = hashlib.sha256(b"model").hexdigest()
    write(
        PutItem(Item("a", {"sound": vector(1), "image": vector(1, 2, 3), "text": vector(5, 5, 5)})),
        PutItem(Item("b", {"text": vector(6, 6, 6)}, made_by={"text": "0" * 64})),
        PutItem(Item("c", {"text": vector(7, 7, 7), "image": vector(7, 7)}, made_by={"text": sha256, "image": "1"})),
        PutItem(Item("d", {"sound": vector(1), "text": vector(np.inf, 0, 0)})),
        PutItem(Item("e", {"text": vector(0, -1e16, 0)})),
    )

    after = collect()

    assert [features(after, item) for item in "abcde"] == [{"text": [5, 5, 5]}, {}, {"text": [7, 7, 7]}, {}, {}]
    assert after.featurizers["text"].read_bytes() == b"model"
    assert [line for line in capsys.readouterr().out.splitlines() if "ignored" in line] == [
        "  ignored 1 features 'image': 3 numbers in place of 2",
        "  ignored 1 features 'image': made by another featurizer than the base's",
        "  ignored 2 features 'sound': unknown to the base",
        "  ignored 1 features 'text': larger than 1e+15",
        "  ignored 1 features 'text': made by another featurizer than the base's",
        "  ignored 1 features 'text': not finite",
    ]


def test_features_that_no_record_brought_stay_those_of_the_base(
    write: Write, collect: Collect, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new price repeats what a model was trained with; the base may have better features by now, or one more."""
    repeated = {"text": vector(8, 8, 8), "sound": vector(1)}
    write(
        PutItem(Item("a", repeated, title="Cheaper"), since=0), PutItem(Item("gone from the base", repeated), since=0)
    )

    after = collect()

    assert (cells(after, "a")["title"], features(after, "a")) == ("Cheaper", {"image": [1, 1], "text": [1, 1, 1]})
    assert features(after, "gone from the base") == {"text": [8, 8, 8]}
    assert "  ignored 1 features 'sound': unknown to the base\n" in capsys.readouterr().out


@pytest.mark.parametrize("same", [True, False])
def test_features_up_to_the_watermark_stay_those_of_the_base(
    base: Path, write: Write, collect: Collect, journal: SqlJournal, same: bool
) -> None:
    """As what came by then was collected; later ones, and all that another journal brought, are the record's."""
    mark = Watermark(journal.identity if same else "another", 1)
    write_watermark(base, mark)
    first, later = vector(8, 8), vector(9, 9)
    write(PutItem(Item("a", {"image": first})), PutItem(Item("b", {"image": later})))
    write(PutItem(Item("a", {"image": first}, title="Cheaper"), since=1))

    after = collect()

    of_base = {"image": [1, 1], "text": [1, 1, 1]}
    assert features(after, "a") == (of_base if same else {"image": [8, 8]})
    assert features(after, "b") == {"image": [9, 9]}


def test_ratings_are_left_out(base: Path, collect: Collect, capsys: pytest.CaptureFixture[str]) -> None:
    """Implicit feedback has none, and none is made up."""
    (base / "interactions.tsv").write_text("user\titem\trating\nu1\ta\t5\n")

    assert collect().interactions.ratings is None
    assert "  ratings are left out: what happens online has none\n" in capsys.readouterr().out


def test_base_without_an_items_table_is_described(base: Path, write: Write, collect: Collect) -> None:
    """Items that were numbers alone get a table, with the columns that came online."""
    (base / "items.tsv").unlink()
    (base / "interactions.tsv").write_text("user\titem\nu1\t0\n")
    write(PutItem(Item("1", title="One")), PutItem(Item("x")))

    after = collect()

    assert list(after.items) == ["0", "1", "2", "x"]
    assert (after.item_columns, after.item_rows) == (("title",), (("",), ("One",), ("",), ("",)))


def test_collecting_from_the_last_output_is_the_same(
    tmp_path: Path, base: Path, write: Write, collect: Collect
) -> None:
    """What was collected once is not changed by collecting it again."""
    write(Interact("u1", "c"), PutItem(Item("d", title="D")), EraseUser("u2"), Interact("u2", "d"), DeleteItem("a"))
    first = collect()
    base.rename(tmp_path / "old")
    (tmp_path / "deep" / "out").rename(base)

    second = collect()

    assert pairs(second) == pairs(first)
    assert (second.items, second.item_rows, second.journal) == (first.items, first.item_rows, first.journal)


def test_existing_output_is_refused(tmp_path: Path, base: Path, journal: SqlJournal, write: Write) -> None:
    """What stands there, even an empty directory, stays."""
    write(Interact("u1", "c"))
    (tmp_path / "out").mkdir()
    arguments = ["--journal", f"sqlite:///{tmp_path}/journal.sqlite3", "--base", str(base)]

    assert main(["collect", *arguments, "--out", str(tmp_path / "out")]) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert journal.last_seq() == 1


def test_nothing_that_is_left_is_refused(
    tmp_path: Path, base: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all have been erased, there is nothing to train on, and no directory."""
    write(EraseUser("u1"), EraseUser("u2"))
    arguments = ["--journal", f"sqlite:///{tmp_path}/journal.sqlite3", "--base", str(base)]

    assert main(["collect", *arguments, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("error: expected interactions of ")
    assert not (tmp_path / "out").exists()
