"""MovieLens 100K, as the wheel of RecBole 1.2.1 carries it.

The wheel also has a knowledge graph (``.kg``) and its links to films (``.link``). They are left alone: the links are
numbered as in the larger MovieLens sets, so that film 313, here Titanic, gets the facts of The Swan Princess
(RUCAIBox/RecSysDatasets#130). Measured here, such facts tell liked-together films apart no better than chance.
"""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError, PreparationFailed

PACKAGE = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
_HEADERS = {
    "inter": ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
    "item": ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"),
}
_NO_VALUE = {"", "unknown", "unkonwn"}  # the second spelling is the data's


@dataclass(frozen=True, slots=True)
class Film:
    """A film as the data describes it; what it does not know is empty.

    Attributes:
        item_id: its id.
        title: its title.
        year: year of release, four digits.
        genres: its genres.
    """

    item_id: str
    title: str
    year: str
    genres: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MovieLens:
    """The data set as read.

    Attributes:
        films: all films, by number.
        users: (n,) ids of the users who rated.
        items: (n,) ids of the films they rated.
        ratings: (n,) float32, 1 to 5 stars.
        timestamps: (n,) float64, seconds since 1970.
    """

    films: tuple[Film, ...]
    users: tuple[str, ...]
    items: tuple[str, ...]
    ratings: NDArray[np.float32] = field(repr=False)
    timestamps: NDArray[np.float64] = field(repr=False)


def download_wheel(directory: Path) -> Path:
    """Downloads the wheel into ``directory`` with pip; nothing is installed and nothing of it runs.

    Raises:
        PreparationFailed: pip is absent or could not fetch it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(directory), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed command
    wheels = list(directory.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["it left no wheel"])[-1]
        raise PreparationFailed(
            f"pip could not download {PACKAGE}: {reason}; download the wheel elsewhere and pass it with --wheel"
        )
    return wheels[0]


def read_movielens(wheel: Path, sha256: str | None = None) -> MovieLens:
    """Reads the data set out of the wheel, which is neither unpacked nor imported.

    Args:
        wheel: the file.
        sha256: what its digest must be; None = that of the published wheel.

    Raises:
        DatasetError: the file is another one, or its tables are not those of the data set.
    """
    expected = sha256 or WHEEL_SHA256
    try:
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    except OSError as exc:
        raise DatasetError(wheel, f"the wheel of {PACKAGE}", f"no readable file ({exc.strerror})") from exc
    if found != expected:
        raise DatasetError(wheel, f"the wheel of {PACKAGE} with sha256 {expected}", f"sha256 {found}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            tables = {name: _rows(wheel, archive, name) for name in _HEADERS}
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as exc:
        raise DatasetError(wheel, f"a zip archive with the tables {_FOLDER}.*", str(exc)) from exc
    users, items, ratings, timestamps = zip(*tables["inter"], strict=True)
    return MovieLens(
        _films(tables["item"]),
        users,
        items,
        np.array(ratings, dtype=np.float32),
        np.array(timestamps, dtype=np.float64),
    )


def _rows(wheel: Path, archive: zipfile.ZipFile, name: str) -> list[list[str]]:
    member = f"{_FOLDER}.{name}"
    lines = archive.read(member).decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    header, *rows = [line.split("\t") for line in lines]
    if tuple(header) != _HEADERS[name]:
        raise DatasetError(wheel / member, f"the columns {', '.join(_HEADERS[name])}", ", ".join(header), line=1)
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DatasetError(wheel / member, f"{len(header)} columns", str(len(row)), line)
    return rows


def _films(rows: list[list[str]]) -> tuple[Film, ...]:
    films = (
        Film(
            item_id=item_id,
            title="" if title.lower() in _NO_VALUE else title,
            year=year if year.isdecimal() else "",
            genres=tuple(name for name in genres.split() if name not in _NO_VALUE),
        )
        for item_id, title, year, genres in rows
    )
    return tuple(sorted(films, key=lambda film: int(film.item_id)))
