"""What happens in a night, in half a minute: everything that dashboards show is made to happen once."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import httpx
import sqlalchemy as sa
from deploy_agreement import Ledger
from deploy_stack import VERSIONS, Stack, wait_until

from model_store import Challenger
from service.adapters.sql_dialects import open_dialect

_PAUSE_S = 0.02
_MODALITIES = {"image": 3, "text": 4}  # of the small model


class Visitor:
    """Writes items with and without modalities, notes interactions, asks for lists of every kind."""

    def __init__(self, stack: Stack, ledger: Ledger) -> None:
        self._clients = [ledger.client(url) for url in stack.services]
        self._rng = random.Random(7)  # noqa: S311 - load, not a secret
        self.stop = threading.Event()

    def visit(self) -> None:
        """Goes on until it is told to stop, at both services in turn."""
        steps = [self._put, self._lists, self._interact, self._batch, self._patch, self._session]
        for client, step in zip(cycle(self._clients), cycle([*steps, *reversed(steps)]), strict=False):
            if self.stop.wait(_PAUSE_S):
                break
            step(client)
        for client in self._clients:
            client.close()

    def _item(self) -> dict[str, Any]:
        present = [name for name in _MODALITIES if self._rng.random() < 0.6]
        features = {name: [self._rng.gauss(0, 1) for _ in range(_MODALITIES[name])] for name in present}
        return {"item_id": f"n{self._rng.randrange(60)}", "modalities": features}

    def _user(self) -> str:
        return f"{self._rng.choice('up')}-{self._rng.randrange(30)}"

    def _put(self, client: httpx.Client) -> None:
        client.post("/items", json=self._item())

    def _batch(self, client: httpx.Client) -> None:
        client.post("/items/batch", json=[self._item() for _ in range(5)])

    def _patch(self, client: httpx.Client) -> None:
        client.patch(f"/items/n{self._rng.randrange(60)}", json={"attributes": {"n": self._rng.random()}})

    def _lists(self, client: httpx.Client) -> None:
        for _ in range(5):
            client.get(f"/recommend/{self._user()}", params={"k": 5, "explain": True})
            client.get(f"/recommend/{self._user()}", params={"k": 5})

    def _session(self, client: httpx.Client) -> None:
        client.post("/recommend", json={"history": [f"n{self._rng.randrange(60)}"], "k": 5})
        client.get(f"/items/n{self._rng.randrange(60)}/similar", params={"k": 5})

    def _interact(self, client: httpx.Client) -> None:
        client.post("/interactions", json=[{"user_id": self._user(), "item_id": f"n{self._rng.randrange(60)}"}])


@contextmanager
def visitors(stack: Stack, ledger: Ledger) -> Iterator[None]:
    """Keeps traffic up for the length of the block."""
    visitor = Visitor(stack, ledger)
    thread = threading.Thread(target=visitor.visit, name="visitor")
    thread.start()
    try:
        yield
    finally:
        visitor.stop.set()
        thread.join()


def events(stack: Stack, ledger: Ledger) -> None:
    """A trial, a shadow, an exchange, a rollback, and a journal that another process holds for a moment."""
    with ledger.client(stack.services[0]) as operator:
        for mode in ("split", "shadow"):
            stack.store.challenge(Challenger(VERSIONS[1], 0.5, mode))
            wait_until(f"a trial by {mode}", lambda: _trial(operator) == 0.5)
            _shown(operator, mode)
        stack.store.challenge(None)
        operator.post(f"/models/{VERSIONS[1]}/activate").raise_for_status()
        operator.post("/models/rollback").raise_for_status()
        journal = open_dialect(sa.make_url(stack.journal), timeout_s=5)
        with journal.writing():
            wait_until("a refused write", lambda: operator.post("/items", json={"item_id": "no"}).status_code == 503)
        journal.engine.dispose()


def _trial(operator: httpx.Client) -> float:
    return metric(operator, "i3rec_trial_share")


def _shown(operator: httpx.Client, mode: str) -> None:
    """Waits until the trial has been seen at work."""
    names = {"split": 'i3rec_arm_lists_total{arm="challenger"}', "shadow": "i3rec_shadow_overlap_count"}
    before = metric(operator, names[mode])
    wait_until(f"lists in a trial by {mode}", lambda: metric(operator, names[mode]) > before + 5)


def metric(client: httpx.Client, name: str) -> float:
    """One sample of a service; 0 where it is not there."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0
