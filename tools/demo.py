"""The demo: real films, some of them held back, arrive in a running service with whatever modalities they have.

``make demo`` runs it and leaves the service up; ``DEMO_EXIT=1 make demo`` ends after the tour.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo_server import Server
from rich.console import Console
from rich.table import Table

from i3rec_client import Client, Item, NotFound
from training.commands import main as training
from training.dataset import Dataset, read_dataset

ROOT = Path("var/demo")
DATA, STORE, JOURNAL = ROOT / "movielens", ROOT / "store", ROOT / "journal.db"
HELD_BACK = 45
SHOWN_FILMS = 5
SHOWN_USERS = 3
SHOWN_LIKES = 4

console = Console(highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Film:
    """A held-back film on its way into the catalogue.

    Attributes:
        fans: users who, in the held-back truth, rated it 4 or 5 stars.
        posted: names of the modalities it was posted with.
        ranks: user → rank, for the users who now get it in their top 20.
    """

    item_id: str
    title: str
    modalities: Mapping[str, list[float]]
    categories: list[str]
    fans: frozenset[str]
    posted: tuple[str, ...] = ()
    confidence: float = 0.0
    ranks: dict[str, int] = field(default_factory=dict)


def main() -> int:
    """Runs the tour; returns the exit status."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    started = time.monotonic()
    say("1  Data: MovieLens-100K, some films held back")
    with suppress(FileNotFoundError):
        shutil.rmtree(ROOT)
    run_training("prepare", "movielens", "--out", str(DATA), "--hold-back", str(HELD_BACK))
    dataset = read_dataset(DATA)
    say("2  Train I³-MRec without them, and publish")
    run_training(
        "train", "--data", str(DATA), "--store", str(STORE), "--history", "all", "--new-item-budget", "0.1", "--promote"
    )
    say("3  Serve")
    port = int(os.environ.get("I3REC_PORT", "8000"))
    with Server(STORE, JOURNAL, port, ROOT / "service.log") as server, Client(server.url) as client:
        console.print(f"{server.url} is ready")
        films = read_held_back(dataset)
        post_all(client, films)
        find_audiences(client, dataset, films)
        show_audiences(dataset, films)
        show_users(dataset, films)
        survive(client, server, films)
        console.print(f"\nThe tour took {time.monotonic() - started:.0f} s.")
        if not os.environ.get("DEMO_EXIT"):
            stay_up(server, films)
    return 0


def say(headline: str) -> None:
    """Prints the headline of a chapter."""
    console.print(f"\n[bold]{headline}[/bold]")


def run_training(*arguments: str) -> None:
    """Runs one command of ``python -m training``.

    Raises:
        SystemExit: the command failed; it has said why.
    """
    if status := training(arguments):
        raise SystemExit(status)


def read_held_back(dataset: Dataset) -> list[Film]:
    """The films the model has never seen, and who likes them."""
    fans: defaultdict[str, set[str]] = defaultdict(set)
    for line in (DATA / "held_back" / "liked.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        user, item = line.split("\t")
        fans[item].add(user)
    known = set(dataset.users)
    with (DATA / "held_back" / "items.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [Film(**record, fans=frozenset(fans[record["item_id"]] & known)) for record in records]


def post_all(client: Client, films: list[Film]) -> None:
    """Posts a third of the films with all modalities, a third with one, a third with none."""
    say(f"4  Post {len(films)} new films: some complete, some with one modality, some with none")
    names = sorted(films[0].modalities)
    for n, film in enumerate(films):
        film.posted = (tuple(names), (names[n // 3 % len(names)],), ())[n % 3]
        posted = {name: film.modalities[name] for name in film.posted}
        item = Item(film.item_id, posted, title=film.title, categories=film.categories)
        begun = time.perf_counter()
        written = client.put_item(item)
        took_ms = (time.perf_counter() - begun) * 1000
        film.confidence = written.encoding.confidence or 0.0
        if n < 3:
            console.print(f"POST /items  {film.title}, with {modalities(film)}")
            status, encoding = 201 if written.created else 200, json.dumps(asdict(written.encoding))
            console.print(f"  {status} in {took_ms:.0f} ms  {encoding}")


def find_audiences(client: Client, dataset: Dataset, films: list[Film]) -> None:
    """Asks for every user's top 20 and notes where the new films stand."""
    by_id = {film.item_id: film for film in films}
    for user in dataset.users:
        for place in client.recommend(user).items:
            if film := by_id.get(place.item_id):
                film.ranks[user] = place.rank


def show_audiences(dataset: Dataset, films: list[Film]) -> None:
    """Who gets the new films, and how many of those really like them."""
    say("5  Who gets them now, in their top 20?")
    table = Table()
    for column in ("new film", "posted with", "confidence", "its fans", "users who get it", "fans among them"):
        table.add_column(column, justify="left" if column in {"new film", "posted with"} else "right", no_wrap=True)
    table.add_column("by chance", justify="right", no_wrap=True)
    for kind in (3, 1, 0):
        group = [film for film in films if len(film.posted) == kind]
        for film in sorted(group, key=lambda film: -len(film.ranks))[:SHOWN_FILMS]:
            table.add_row(film.title, modalities(film), f"{film.confidence:.2f}", *audience(dataset, [film]))
        name = {3: "all modalities", 1: "one modality", 0: "no modality"}[kind]
        total = f"all {len(group)} posted with {name}"
        table.add_row(f"[bold]{total}[/bold]", "", "", *audience(dataset, group), end_section=True)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    console.print(table)
    console.print("by chance: fans among as many users drawn at random. fans: rated the film 4 or 5 stars; never told.")


def audience(dataset: Dataset, films: list[Film]) -> tuple[str, str, str, str]:
    """Fans, users reached, fans among those, and how many fans random users would have held."""
    reached = sum(len(film.ranks) for film in films)
    hits = sum(len(film.fans & film.ranks.keys()) for film in films)
    chance = sum(len(film.ranks) * len(film.fans) / dataset.n_users for film in films)
    return str(sum(len(film.fans) for film in films)), str(reached), str(hits), f"{chance:.1f}"


def show_users(dataset: Dataset, films: list[Film]) -> None:
    """Some of the fans who were found, and what they liked before."""
    say("6  Some of the fans it found, and what they liked before")
    title = dataset.item_columns.index("title")
    shown: set[str] = set()
    for film in sorted(films, key=lambda film: (len(film.posted) != 1, -len(film.fans & film.ranks.keys()))):
        user = next((u for u in sorted(film.ranks, key=film.ranks.__getitem__) if u in film.fans - shown), None)
        if user is None or len(shown) == SHOWN_USERS:
            continue
        shown.add(user)
        interactions = dataset.interactions
        liked = interactions.items[interactions.users == dataset.users.row(user)][:SHOWN_LIKES]
        console.print(
            f"user {user} gets [bold]{film.title}[/bold] at rank {film.ranks[user]}, posted with {modalities(film)}"
        )
        console.print(f"  liked before: {'; '.join(dataset.item_rows[item][title] for item in liked)}; …")


def survive(client: Client, server: Server, films: list[Film]) -> None:
    """Kills the service without warning, starts it again, and deletes a film.

    Raises:
        SystemExit: a film was lost, or a deleted one came back.
    """
    say("7  kill -9, start again, delete")
    film = max(films, key=lambda film: len(film.ranks))
    if not film.ranks:
        raise SystemExit("no new film reached anybody: the demo has failed")
    user = min(film.ranks, key=film.ranks.__getitem__)
    server.kill()
    server.start()
    lost = [other.title for other in films if not is_there(client, other)]
    if lost or film.item_id not in recommended(client, user):
        raise SystemExit(f"lost by the crash: {lost or film.title}")
    console.print(f"after kill -9: all {len(films)} films are there, and user {user} still gets {film.title}")
    client.delete_item(film.item_id)
    if film.item_id in recommended(client, user):
        raise SystemExit(f"{film.title} was deleted, and is still recommended")
    console.print(f"after DELETE /items/{film.item_id}: user {user} no longer gets it")


def recommended(client: Client, user: str) -> set[str]:
    """The ids of a user's top 20."""
    return {place.item_id for place in client.recommend(user).items}


def is_there(client: Client, film: Film) -> bool:
    """Whether the catalogue holds a film."""
    try:
        client.get_item(film.item_id)
    except NotFound:
        return False
    return True


def modalities(film: Film) -> str:
    """The modalities a film was posted with, for people."""
    return ", ".join(film.posted) or "nothing"


def stay_up(server: Server, films: list[Film]) -> None:
    """Prints where to look, and serves until Ctrl-C."""
    user = next(user for film in films for user in film.ranks)
    say("The service stays up until Ctrl-C. Look at")
    for path in (f"/recommend/{user}", f"/items/{films[0].item_id}", "/docs", "/metrics", "/readyz"):
        console.print(f"  {server.url}{path}")
    console.print(f"  its log: {ROOT / 'service.log'}; its model store: {STORE}")
    with suppress(KeyboardInterrupt):
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
