"""The whole way as a user walks it: data, training, publishing, serving, an incomplete item, a crash."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from i3rec_client import Client, Item, NotFound, Retry
from training.dataset import Dataset
from training.datasets.synthetic import checkerboard
from training.writing import write_dataset

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def dataset() -> Dataset:
    """Two communities of users and items."""
    return checkerboard(rng=np.random.default_rng(0), validation=True)


@contextmanager
def serving(store: Path, journal: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """The service as a process; killed without warning where it still runs at the end."""
    environment = {
        **os.environ,
        "I3REC_MODEL_STORE": str(store),
        "I3REC_JOURNAL_URL": f"sqlite:///{journal}",
        "I3REC_PORT": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with Client(url, retry=Retry(attempts=1000)) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def reach(client: Client, dataset: Dataset, item_id: str, community: int, k: int) -> float:
    """The share of a community's users who get the item among their first k."""
    users = [user for user in dataset.users if int(user) % 2 == community]
    lists = [client.recommend(user, k=k).items for user in users]
    return sum(item_id in [place.item_id for place in places] for places in lists) / len(users)


def test_partial_item_finds_its_users_and_survives_a_crash(tmp_path: Path, dataset: Dataset) -> None:
    """A new item with one of two modalities reaches its community alone, also after kill -9, until it is deleted."""
    write_dataset(tmp_path / "data", dataset)
    arguments = ["--data", str(tmp_path / "data"), "--store", str(tmp_path / "store"), "--promote", "--epochs", "30"]
    subprocess.run(
        [sys.executable, "-m", "training", "train", *arguments, "--d", "16", "--hidden", "32"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    text = dataset.features["text"]
    like = next(row for row in range(0, dataset.n_items, 2) if text.present[row])
    item = Item("fresh", {"text": text.matrix[like]})

    with serving(tmp_path / "store", tmp_path / "journal.db") as (process, client):
        written = client.put_item(item)

        assert written.created
        assert written.encoding.missing == ("image",)
        # Two items of their own community are withheld from everybody: the third place shows who else belongs to it.
        assert reach(client, dataset, "fresh", community=0, k=3) > 0.8
        assert reach(client, dataset, "fresh", community=1, k=2) == 0
        process.send_signal(signal.SIGKILL)
        process.wait()

    with serving(tmp_path / "store", tmp_path / "journal.db") as (_, client):
        assert reach(client, dataset, "fresh", community=0, k=3) > 0.8
        client.delete_item("fresh")
        assert reach(client, dataset, "fresh", community=0, k=40) == 0
        with pytest.raises(NotFound):
            client.get_item("fresh")
