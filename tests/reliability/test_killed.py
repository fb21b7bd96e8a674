"""What the service acknowledged outlives kill -9, and what nobody asked for never appears.

Shoppers write items, streams of items, interactions and erasures, each shopper its own, exchange the model, and know
what was acknowledged and what was under way. At a random moment the service is killed. After the restart every item is
as the last acknowledged write left it, or as the one under way meant it, and every list holds what its user may get.
Checkpoints are written all the while, so that starts are from some of them, and kills happen in the middle of others.
"""

import json
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelStore
from service.adapters.sql_journal import SqlJournal
from service.domain import PutItem

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

SHOPPERS = 4
_MOST_WRITES = 150
TRAINED = [f"i{n:02}" for n in range(12)]
State = tuple[str, int | None] | None  # title and attribute n of an item; None = there is none


class Shopper:
    """One client, the only one who writes its items and for its users, and what it knows about them."""

    def __init__(self, number: int) -> None:
        mine = TRAINED[number::SHOPPERS]
        # The possible states of each item: the acknowledged one, and those that writes under way mean.
        self.items: dict[str, tuple[State, ...]] = {name: ((f"Item {int(name[1:])}", None),) for name in mine}
        self.items |= {f"n{number}/{n}": (None,) for n in range(6)}
        self.seen: dict[str, set[str]] = {f"p{number}-{n}": set() for n in range(2)}  # what counts for each user
        self.events: dict[str, dict[str, str]] = {}  # acknowledged and not erased, by event id
        self.pending: dict[str, Any] | None = None  # the request about a user that is under way
        self.sent: set[str] = set()  # every title
        self.outcomes: Counter[str] = Counter()  # of item writes that were under way
        self.client: httpx.Client
        self._rng = random.Random(number)
        self._number, self._step = number, 0

    def shop(self, acknowledged: threading.Semaphore) -> None:
        """Writes this and that until the service is gone; releases what counts the acknowledged writes."""
        steps = [self.put, self.put_many, self.interact, self.interact, self.patch, self.patch, self.delete, self.erase]
        steps.append(self.exchange)
        try:
            while True:
                self._rng.choice(steps)()
                acknowledged.release()
        except httpx.TransportError:
            return
        finally:
            acknowledged.release(_MOST_WRITES)  # nobody waits for more of them

    def put(self) -> None:
        """Adds or replaces an item."""
        body, created = self._body(item := self._rng.choice(list(self.items))), self.items[item] == (None,)
        self._write(item, (body["title"], None), 201 if created else 200, "POST", "/items", json=body)

    def patch(self) -> None:
        """Gives an item that is there another attribute."""
        for item in self._present():
            ((title, _),) = self.items[item]
            number = self._next()
            self._write(item, (title, number), 200, "PATCH", f"/items/{item}", json={"attributes": {"n": number}})

    def delete(self) -> None:
        """Deletes an item that is there."""
        for item in self._present():
            self._write(item, None, 204, "DELETE", f"/items/{item}")

    def put_many(self) -> None:
        """Streams several items; each line of the answer acknowledges one."""
        bodies = {item: self._body(item) for item in self._rng.sample(list(self.items), 4)}
        for item, body in bodies.items():
            self.items[item] += ((body["title"], None),)
        lines = "".join(json.dumps(body) + "\n" for body in bodies.values())
        headers = {"Content-Type": "application/x-ndjson"}
        with self.client.stream("POST", "/items/batch", content=lines, headers=headers) as answer:
            for result in map(json.loads, answer.iter_lines()):
                if "line" in result:
                    assert result["status"] in {200, 201}, result
                    self.items[result["item_id"]] = ((bodies[result["item_id"]]["title"], None),)

    def interact(self) -> None:
        """A user takes to two items."""
        user, items = self._rng.choice(list(self.seen)), self._rng.sample([*self.items, *TRAINED], 2)
        events = [{"user_id": user, "item_id": item, "event_id": f"{self._number}.{self._next()}"} for item in items]
        self._send({"method": "POST", "url": "/interactions", "json": events})

    def erase(self) -> None:
        """A user wants to be forgotten."""
        self._send({"method": "DELETE", "url": f"/users/{self._rng.choice(list(self.seen))}"})

    def exchange(self) -> None:
        """Another version of the model is to serve, or the same."""
        assert self.client.post(f"/models/v{self._rng.randint(1, 2)}/activate").status_code in {200, 202}

    def settle(self) -> None:
        """After a restart: looks at every item, and sends again what was under way about users, as clients do."""
        for item, states in self.items.items():
            answer = self.client.get(f"/items/{item}")
            found = answer.json()
            state = (found["title"], found["attributes"].get("n")) if answer.is_success else None
            assert state in states, f"{item}: found {state}, expected one of {states}"
            if len(states) > 1:
                self.outcomes["done" if state == states[1] else "not done"] += 1
            self.items[item] = (state,)
        if self.pending:
            self._send(self.pending)

    def repeat_events(self) -> None:
        """Every acknowledged event is known by its id."""
        events = self._rng.sample(list(self.events.values()), min(100, len(self.events)))
        answer = self.client.post("/interactions", json=events).json()
        assert (answer["accepted"], answer["repeated"]) == (0, len(events))

    def _write(self, item: str, state: State, status: int, method: str, path: str, **body: Any) -> None:
        """Until it is answered for, the item may be as it was or as it is meant to be."""
        self.items[item] += (state,)
        answer = self.client.request(method, path, **body)
        assert answer.status_code == status, answer.text
        self.items[item] = (state,)

    def _send(self, request: dict[str, Any]) -> None:
        self.pending = request
        answer = self.client.request(**request)
        assert answer.status_code == (202 if "json" in request else 204), answer.text
        self.pending = None
        for event in request.get("json", ()):
            self.seen[event["user_id"]].add(event["item_id"])
            self.events[event["event_id"]] = event
        if "json" not in request:
            user = request["url"].removeprefix("/users/")
            self.seen[user] = set()
            self.events = {name: event for name, event in self.events.items() if event["user_id"] != user}

    def _present(self) -> list[str]:
        """One item that is there; none where none is."""
        present = [item for item, states in self.items.items() if None not in states]
        return self._rng.sample(present, min(1, len(present)))

    def _body(self, item: str) -> dict[str, Any]:
        title = f"{self._number}.{self._next()}"
        self.sent.add(title)
        modalities = {"text": [self._rng.uniform(-2, 2) for _ in range(4)]} if self._rng.random() < 0.5 else {}
        return {"item_id": item, "title": title, "modalities": modalities}

    def _next(self) -> int:
        self._step += 1
        return self._step


def check_lists(shoppers: list[Shopper]) -> None:
    """Every user's list holds all items there are but those the user has seen."""
    there = {item for shopper in shoppers for item, states in shopper.items.items() if None not in states}
    for shopper in shoppers:
        for user, seen in {**shopper.seen, "stranger": set()}.items():
            answer = shopper.client.get(f"/recommend/{user}", params={"k": 500}).json()
            assert {item["item_id"] for item in answer["items"]} == there - seen, user


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_what_was_acknowledged_outlives_kills(
    kills: int, start_service: Any, tmp_path: Path, published_store: ModelStore, make_version: Any
) -> None:
    """Over all kills, on one journal: no acknowledged write is lost, nothing deleted or erased returns, no ghost."""
    make_version(published_store, "v2", seed=1, promote=False)
    rng, shoppers = random.Random(kills), [Shopper(number) for number in range(SHOPPERS)]
    service, writes = start_service(checkpoint_every_s=0.05), 0
    for _ in range(kills):
        acknowledged, wanted = threading.Semaphore(0), rng.randrange(1, _MOST_WRITES)
        for shopper in shoppers:
            shopper.client = service.client()
        with ThreadPoolExecutor(SHOPPERS) as pool:
            shopping = [pool.submit(shopper.shop, acknowledged) for shopper in shoppers]
            for _ in range(wanted):
                acknowledged.acquire()
            service.kill()
        for each in shopping:
            each.result()
        writes += wanted

        service.start()
        for shopper in shoppers:
            shopper.client = service.client()
            shopper.settle()
            shopper.repeat_events()
        check_lists(shoppers)
    service.stop()
    assert any((tmp_path / "journal.sqlite3.checkpoints").glob("*.checkpoint"))

    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.sqlite3")
    titles = {record.entry.item.title for record in journal.read() if isinstance(record.entry, PutItem)}
    journal.close()
    assert titles <= {f"Item {n}" for n in range(12)}.union(*(shopper.sent for shopper in shoppers))
    under_way = sum((shopper.outcomes for shopper in shoppers), Counter())
    print(f"{kills} kills, {writes} acknowledged writes; of those under way {dict(under_way)}")  # noqa: T201 - a figure
