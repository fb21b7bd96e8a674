"""MovieLens: reading the wheel, making the data set, and the command; on a tiny wheel made here."""

import argparse
import hashlib
import json
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from training import prepare
from training.dataset import read_dataset
from training.datasets import movielens
from training.datasets.film_dataset import build_dataset
from training.datasets.film_features import FilmEncoder
from training.datasets.movielens import Film, download_wheel, read_movielens
from training.errors import ConfigError, DatasetError, PreparationFailed
from training.interactions import TEST, TRAIN, VAL

N_USERS = 30
GENRES = ("Comedy", "Drama", "War Drama", "Children's Comedy")
FOLDER = "recbole/dataset_example/ml-100k/ml-100k"


def tables() -> dict[str, list[str]]:
    """Twelve films by thirty users: film 11 has no genre, film 12 no title and no year, film 10 is liked by nobody."""
    films = [f"{k}\tStory {'IX'[k % 2]} of the Sea {k}\t{1980 + k}\t{GENRES[k % 4]}" for k in range(10, 0, -1)]
    films += ["11\tQuiet Story\t1991\tunknown", "12\tunkonwn\tunkonwn\tWar"]
    ratings = [
        f"{user}\t{film}\t{3 if film == 10 or (user + film) % 5 == 0 else 4 + user % 2}\t{1000 * film + user}"
        for user in range(1, N_USERS + 1)
        for film in range(1, 13)
    ]
    return {
        "item": ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", *films],
        "inter": ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *ratings],
    }


def write_wheel(path: Path, content: dict[str, list[str]]) -> Path:
    """Writes a wheel that holds these tables."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in content.items():
            archive.writestr(f"{FOLDER}.{name}", "\n".join(lines) + "\n")
    return path


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny wheel that passes for the published one."""
    path = write_wheel(tmp_path / "recbole.whl", tables())
    monkeypatch.setattr(movielens, "WHEEL_SHA256", digest(path))
    return path


def command(*arguments: str) -> int:
    """Runs ``prepare`` with these arguments."""
    parser = argparse.ArgumentParser()
    prepare.add_arguments(parser)
    return prepare.run(parser.parse_args(arguments))


def test_read_returns_films_by_number_and_all_ratings(wheel: Path) -> None:
    """What the data does not know is empty."""
    found = read_movielens(wheel)

    assert [film.item_id for film in found.films] == [str(k) for k in range(1, 13)]
    assert found.films[2] == Film("3", "Story X of the Sea 3", "1983", ("Children's", "Comedy"))
    assert found.films[10].genres == ()
    assert found.films[11] == Film("12", "", "", ("War",))
    assert (len(found.users), found.ratings.dtype, found.timestamps.dtype) == (12 * N_USERS, np.float32, np.float64)


def test_read_refuses_another_file(tmp_path: Path) -> None:
    """Only the published wheel is read, whatever a file is called."""
    path = write_wheel(tmp_path / "recbole.whl", tables())

    with pytest.raises(DatasetError, match=f"expected the wheel of recbole==1.2.1 with sha256 9c99.*{digest(path)}"):
        read_movielens(path)
    with pytest.raises(DatasetError, match="found no readable file"):
        read_movielens(tmp_path / "none.whl")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("item", None, "expected a zip archive with the tables"),
        ("item", ["item_id:token", "1"], r"ml-100k.item:1: expected the columns item_id:token, movie_title"),
        ("inter", [tables()["inter"][0], "1\t2\t3\t4", "1\t2\t3"], r"ml-100k.inter:3: expected 4 columns, found 3"),
    ],
)
def test_read_refuses_other_tables(tmp_path: Path, name: str, lines: list[str] | None, message: str) -> None:
    """A wheel without the tables, or with other columns, is named."""
    content = {key: value for key, value in (tables() | {name: lines or []}).items() if value}
    path = write_wheel(tmp_path / "recbole.whl", content)

    with pytest.raises(DatasetError, match=message):
        read_movielens(path, digest(path))


def test_read_refuses_what_is_no_zip(tmp_path: Path) -> None:
    """A truncated archive is an error of the file, not a crash."""
    path = tmp_path / "recbole.whl"
    path.write_bytes(b"PK")

    with pytest.raises(DatasetError, match="expected a zip archive"):
        read_movielens(path, digest(path))


def test_dataset_holds_positive_ratings_and_all_films(wheel: Path) -> None:
    """Ratings below four are no interactions; a film nobody liked stays as an item."""
    dataset, held_back = build_dataset(read_movielens(wheel), hold_back=0, seed=0)

    ratings = dataset.interactions.ratings
    assert ratings is not None
    assert set(ratings.tolist()) == {4, 5}
    assert list(dataset.items) == [str(k) for k in range(1, 13)]
    assert dataset.items.row("10") not in dataset.interactions.items
    assert dataset.item_columns == ("title", "year", "categories")
    assert dataset.item_rows[2] == ("Story X of the Sea 3", "1983", "Children's|Comedy")
    assert held_back.films == ()


def test_dataset_is_split_by_time_per_user(wheel: Path) -> None:
    """Everybody's latest liked film is tested, the one before validates."""
    dataset, _ = build_dataset(read_movielens(wheel), hold_back=0, seed=0)

    found = dataset.interactions
    assert found.split is not None
    assert found.timestamps is not None
    for user in range(dataset.n_users):
        mine = found.users == user
        order = np.argsort(found.timestamps[mine])
        codes = found.split[mine][order]
        assert codes.tolist() == [TRAIN] * (len(codes) - 2) + [VAL, TEST]


def test_features_say_what_is_missing(wheel: Path) -> None:
    """A film without genre, title or year lacks that modality; rows of text have unit norm."""
    dataset, _ = build_dataset(read_movielens(wheel), hold_back=0, seed=0)

    assert list(dataset.features) == ["genres", "release", "text"]
    assert np.flatnonzero(~dataset.present[:, 0]).tolist() == [10]
    assert np.flatnonzero(~dataset.present[:, 1]).tolist() == [11]
    assert np.flatnonzero(~dataset.present[:, 2]).tolist() == [11]
    assert dataset.features["genres"].matrix[2].tolist() == [1, 1, 0, 0]  # Children's, Comedy, Drama, War
    norms = np.linalg.norm(dataset.features["text"].matrix, axis=1)
    assert norms == pytest.approx([1] * 11 + [0], abs=1e-5)


def test_release_interpolates_between_learned_years() -> None:
    """Learned from 1990 and 1998, 1992 is three quarters of the one and a quarter of the other; 1900 is cut off."""
    encoder = FilmEncoder([Film("1", "A story", "1990", ("War",)), Film("2", "Another story", "1998", ("War",))])

    rows = encoder.encode([Film("3", "", "1992"), Film("4", "", "1900"), Film("5", "", "")])["release"]

    assert rows.matrix.tolist() == [[0.75, 0.25], [1, 0], [0, 0]]
    assert rows.present.tolist() == [True, True, False]


def test_title_that_shares_nothing_is_missing() -> None:
    """A title without one known word or character sequence says nothing; an unknown genre neither."""
    encoder = FilmEncoder([Film(str(k), f"The story {k}", "1990", ("War",)) for k in range(5)])

    features = encoder.encode([Film("9", "Žižkov", "1990", ("Opera",)), Film("8", "A story", "1990", ("War", "Opera"))])

    assert features["text"].present.tolist() == [False, True]
    assert features["genres"].present.tolist() == [False, True]


def test_encoder_refuses_films_that_say_nothing() -> None:
    """There is nothing to learn a modality from."""
    with pytest.raises(ValueError, match="expected films with titles, years and genres"):
        FilmEncoder([Film("1", "", "", ())])


def test_films_held_back_are_gone_from_the_data(wheel: Path) -> None:
    """They are complete, liked by many, and neither items nor interactions of the data set."""
    source = read_movielens(wheel)

    dataset, held_back = build_dataset(source, hold_back=3, seed=1)

    ids = {film.item_id for film in held_back.films}
    assert len(ids) == 3
    assert not ids & {*dataset.items, "10", "11", "12"}
    assert held_back.features is not None
    assert all(features.present.all() for features in held_back.features.values())
    liked = {(u, i) for u, i, r in zip(source.users, source.items, source.ratings, strict=True) if i in ids and r >= 4}
    assert set(held_back.liked) == liked


def test_nothing_is_learned_from_films_held_back(wheel: Path) -> None:
    """The data set's features are those of an encoder that never saw them, and so are theirs."""
    source = read_movielens(wheel)

    dataset, held_back = build_dataset(source, hold_back=3, seed=1)

    kept = [film for film in source.films if film not in held_back.films]
    encoder = FilmEncoder(kept)
    assert held_back.features is not None
    for name, features in encoder.encode(kept).items():
        np.testing.assert_array_equal(dataset.features[name].matrix, features.matrix)
    for name, features in encoder.encode(held_back.films).items():
        np.testing.assert_array_equal(held_back.features[name].matrix, features.matrix)


@pytest.mark.parametrize("count", [-1, 10])
def test_impossible_number_of_films_held_back_is_refused(wheel: Path, count: int) -> None:
    """Nine of the twelve films are complete and liked by twenty."""
    with pytest.raises(PreparationFailed, match="expected to hold back 0 to 9 films"):
        build_dataset(read_movielens(wheel), hold_back=count, seed=0)


def test_command_writes_a_readable_directory(wheel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command makes is a dataset directory, with the films held back beside it."""
    out = tmp_path / "deep" / "ml"

    status = command("movielens", "--out", str(out), "--wheel", str(wheel), "--hold-back", "2")

    assert status == 0
    dataset = read_dataset(out)
    assert (dataset.n_users, dataset.n_items) == (N_USERS, 10)
    items = [json.loads(line) for line in (out / "held_back" / "items.jsonl").read_text().splitlines()]
    assert [set(item) for item in items] == [{"item_id", "title", "categories", "modalities"}] * 2
    assert {name: len(row) for name, row in items[0]["modalities"].items()} == {
        name: features.dim for name, features in dataset.features.items()
    }
    header, *liked = (out / "held_back" / "liked.tsv").read_text().splitlines()
    assert header == "user\titem"
    assert {line.split("\t")[1] for line in liked} == {item["item_id"] for item in items}
    assert f"{N_USERS} users, 10 films" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["ml"]


def test_command_replaces_only_its_own_directory(wheel: Path, tmp_path: Path) -> None:
    """An earlier result is replaced as a whole; somebody else's files need --force."""
    out = tmp_path / "ml"
    arguments = ("movielens", "--out", str(out), "--wheel", str(wheel))
    assert command(*arguments, "--hold-back", "1") == 0

    assert command(*arguments) == 0
    assert not (out / "held_back").exists()

    (out / prepare.MARKER).unlink()
    with pytest.raises(PreparationFailed, match="expected a new or empty directory"):
        command(*arguments)
    assert command(*arguments, "--force") == 0


def test_refused_command_leaves_the_old_directory(wheel: Path, tmp_path: Path) -> None:
    """What stood there stands there still, be it a directory or a file."""
    out = tmp_path / "ml"
    assert command("movielens", "--out", str(out), "--wheel", str(wheel)) == 0

    with pytest.raises(PreparationFailed, match="expected to hold back 0 to 9 films, found 99"):
        command("movielens", "--out", str(out), "--wheel", str(wheel), "--hold-back", "99")
    with pytest.raises(PreparationFailed, match="expected a directory, found a file"):
        command("movielens", "--out", str(wheel), "--wheel", str(wheel))

    assert read_dataset(out).n_items == 12
    assert wheel.is_file()


def test_failed_write_leaves_no_trace(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory under construction is removed and the old one kept."""
    out = tmp_path / "ml"
    dataset, held_back = build_dataset(read_movielens(wheel), hold_back=0, seed=0)
    prepare.write_directory(out, dataset, held_back, {"seed": 0})
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == out and not self.name.endswith(".old"):
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)

    with pytest.raises(OSError, match="no space"):
        prepare.write_directory(out, dataset, held_back, {"seed": 1})
    assert json.loads((out / prepare.MARKER).read_text()) == {"seed": 0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ml", "recbole.whl"]


def test_download_asks_pip_and_runs_nothing_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only wheels are accepted: a source archive would run code to be read."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        calls.append(command)
        (tmp_path / "recbole-1.2.1-py3-none-any.whl").touch()
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)

    assert download_wheel(tmp_path).name == "recbole-1.2.1-py3-none-any.whl"
    assert {"download", "--no-deps", "--only-binary=:all:", "recbole==1.2.1"} <= set(calls[0])


@pytest.mark.parametrize(
    ("stderr", "reason"), [("WARNING: x\nERROR: no network", "ERROR: no network"), ("", "it left no wheel")]
)
def test_failed_download_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, reason: str
) -> None:
    """Pip's last line is passed on, with the way around it."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr=stderr))

    with pytest.raises(PreparationFailed, match=f"{reason}; download the wheel elsewhere and pass it with --wheel"):
        download_wheel(tmp_path)


def test_negative_seeds_are_refused(wheel: Path, tmp_path: Path) -> None:
    """Before anything is made."""
    with pytest.raises(ConfigError, match="seed: expected at least 0, found -1"):
        command("movielens", "--wheel", str(wheel), "--out", str(tmp_path / "out"), "--seed", "-1")

    assert not (tmp_path / "out").exists()
