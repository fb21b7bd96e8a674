"""The loop closes: what happened online is trained on, and the next version takes over under the running service."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import numpy as np
import pytest
import torch

from model_store import Bundle, ModelStore
from service.app import create_app
from service.settings import Settings
from training.commands import main
from training.datasets.synthetic import checkerboard
from training.writing import write_dataset

pytestmark = pytest.mark.anyio

SMALL = ["--d", "8", "--hidden", "16", "--epochs", "2", "--evaluate-every", "2", "--device", "cpu"]
NEW = {"item_id": "new", "title": "New", "categories": ["x"], "modalities": {"image": [1, 0, 0, 0, 0, 0, 0, 0]}}


class Shop(NamedTuple):
    """A place for everything: the directory, and the store of its models."""

    root: Path
    store: ModelStore

    @property
    def journal_url(self) -> str:
        """Of what is written online."""
        return f"sqlite:///{self.root}/journal.sqlite3"

    def train(self, data: str) -> Bundle:
        """Trains on one of the data sets, publishes and promotes."""
        arguments = ["--data", str(self.root / data), "--store", str(self.store.root), "--promote"]
        assert main(["train", *arguments, *SMALL]) == 0
        return self.store.load()

    def collect(self, base: str, out: str) -> None:
        """Makes the next data set."""
        directories = ["--base", str(self.root / base), "--out", str(self.root / out)]
        assert main(["collect", "--journal", self.journal_url, *directories]) == 0


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data without a split of its own, and a model of it; tests take a copy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("shop")
    board = checkerboard(20, 16, rng=np.random.default_rng(0), missing=0.2)
    write_dataset(root / "first", replace(board, interactions=replace(board.interactions, split=None)))
    Shop(root, ModelStore(root / "store")).train("first")
    yield root
    torch.set_num_threads(threads)


@pytest.fixture
def shop(tmp_path: Path, opened: Path) -> Shop:
    """A shop whose first model is trained, and where nothing has happened yet."""
    shutil.copytree(opened, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path, ModelStore(tmp_path / "store"))


@asynccontextmanager
async def serve(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """Runs the service with a quick eye on CURRENT, and gives a client."""
    app = create_app(Settings(model_store=shop.store.root, journal_url=shop.journal_url, model_poll_s=0.02))
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Callable, send: Callable) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
            yield client


async def serves(client: httpx.AsyncClient, version: str) -> None:
    """Waits until a version serves."""
    with anyio.fail_after(10):
        while (await client.get("/readyz")).json()["model_version"] != version:  # noqa: ASYNC110 - polls HTTP
            await anyio.sleep(0.01)


async def did(client: httpx.AsyncClient, *pairs: tuple[str, str]) -> None:
    """Posts what users did."""
    body = [{"user_id": user, "item_id": item} for user, item in pairs]
    assert (await client.post("/interactions", json=body)).status_code == 202


async def recommended(client: httpx.AsyncClient, user_id: str) -> list[str]:
    """All that a user is recommended."""
    answer = (await client.get(f"/recommend/{user_id}?k=500")).json()
    return [item["item_id"] for item in answer["items"]]


async def item(client: httpx.AsyncClient, item_id: str) -> dict[str, Any]:
    """An item as it stands."""
    return (await client.get(f"/items/{item_id}")).json()


def seen(bundle: Bundle, user_id: str) -> set[str]:
    """The items that a bundle says a user has seen."""
    return set(bundle.items.ids(bundle.seen(bundle.users.row(user_id)).tolist()))


async def test_what_happened_online_is_in_the_next_version(shop: Shop) -> None:
    """A partial item, a new user and an old one, a deletion and an erasure: trained on, and nothing lost or doubled."""
    fans = [str(user) for user in range(2, 20, 2)]
    async with serve(shop) as client:
        assert (await client.post("/items", json=NEW)).status_code == 201
        assert (await client.delete("/items/3")).status_code == 204
        await did(client, *((user, "new") for user in fans), ("ann", "new"), ("ann", "0"), ("0", "1"), ("5", "new"))
        assert (await client.delete("/users/5")).status_code == 204
        online = await item(client, "new")
        assert online["encoding"]["confidence"] is not None

        shop.collect("first", "second")
        await did(client, ("ann", "2"))  # while the next version is trained
        assert (await client.post("/items", json={**NEW, "item_id": "newer"})).status_code == 201
        bundle = await anyio.to_thread.run_sync(shop.train, "second")
        await serves(client, bundle.version)

        trained = await item(client, "new")
        assert trained["encoding"] == {
            "present": ["image"], "missing": ["text"], "confidence": None, "model_version": bundle.version
        }  # fmt: skip
        assert {**trained, "encoding": None} == {**online, "encoding": None}
        assert (await item(client, "newer"))["encoding"]["confidence"] is not None
        lists = {user: await recommended(client, user) for user in (*fans, "0", "5", "ann", "nobody")}

    assert bundle.manifest.journal_watermark == online["index_seq"] + 1 + len(fans) + 4 + 1
    assert all("new" in seen(bundle, user) for user in fans)
    assert seen(bundle, "ann") == {"new", "0"}
    assert "1" in seen(bundle, "0")
    assert "5" not in bundle.users
    assert "3" not in bundle.items
    everything = {*bundle.items, "newer"}
    for user, shown in lists.items():
        known = seen(bundle, user) if user in bundle.users else set()
        done = {"2"} if user == "ann" else set()
        assert len(shown) == len(set(shown))
        assert set(shown) == everything - known - done


async def test_late_modality_after_the_watermark_is_encoded(shop: Shop) -> None:
    """What the model was not trained on does not pass for trained; a new title alone changes nothing of it."""
    async with serve(shop) as client:
        await client.post("/items", json=NEW)
        await did(client, ("0", "new"), ("2", "new"))
        shop.collect("first", "second")
        await client.patch("/items/new", json={"title": "Newer"})
        await client.patch("/items/4", json={"modalities": {"text": [1] * 12}})
        bundle = await anyio.to_thread.run_sync(shop.train, "second")
        await serves(client, bundle.version)

        renamed, changed = await item(client, "new"), await item(client, "4")

        assert (renamed["title"], renamed["encoding"]["confidence"]) == ("Newer", None)
        assert changed["encoding"]["confidence"] is not None
        assert "text" in changed["encoding"]["present"]


async def test_next_loop_goes_on_from_the_last(shop: Shop) -> None:
    """A second round, from what the first one made, has what both found, and names the journal."""
    async with serve(shop) as client:
        await client.post("/items", json=NEW)
        await did(client, ("ann", "new"), ("ann", "0"), ("ann", "2"))
        shop.collect("first", "second")
        await did(client, ("ann", "4"))
        await client.patch("/items/new", json={"modalities": {"text": [1] * 12}})
        shop.collect("second", "third")
        bundle = await anyio.to_thread.run_sync(shop.train, "third")
        await serves(client, bundle.version)

        encoding = (await item(client, "new"))["encoding"]

        assert (encoding["present"], encoding["confidence"]) == (["image", "text"], None)
        assert seen(bundle, "ann") == {"new", "0", "2", "4"}
        assert bundle.manifest.journal_watermark == 6
        assert len(bundle.manifest.training["journal_identity"]) == 32
