"""The whole service against a dictionary: whatever happens, every route shows exactly what it may show.

A state machine (hypothesis) puts, patches, hides, expires and deletes items, posts them again as they are, lets users
act and be erased, swaps models, restarts, asks every route that gives lists, and lists the catalogue. The dictionary
knows who may see what.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from model_store import ModelStore
from service.settings import Settings

TRAINED = [f"i{n:02}" for n in range(12)]
ITEMS = st.sampled_from([*TRAINED[:6], "new/1", "new 2", "neü", "new?4"])
USERS = st.sampled_from(["u0", "u1", "u5", "somebody", "some/body"])
TEXT = st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4)
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "modalities": st.one_of(st.just({}), st.builds(lambda text: {"text": text}, TEXT)),
        "hidden": st.booleans(),
        "available": st.booleans(),
        "categories": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "attributes": st.fixed_dictionaries(
            {},
            optional={
                "brand": st.sampled_from(["acme", "other"]),
                "size": st.sampled_from([1, 2.0, 2.5, "2", "large", True]),
            },
        ),
        "expires_at": st.sampled_from([None, PAST.isoformat(), FUTURE.isoformat()]),
    },
)
ALL = 500
SIZES = {"1": [1], "2": [2.0, "2"], "2.50": [2.5], "large": ["large"], "true": [True]}  # what is found by which text
CONDITIONS = st.sampled_from([None, ("brand", "acme"), ("brand", "other"), *(("size", text) for text in SIZES)])
ANSWERED = ("index_seq", "encoding")  # what is answered of an item and not posted


class Shop(RuleBasedStateMachine):
    """A running service and what it should know."""

    def __init__(
        self, make_version: Callable[..., None], run_app: Any, portal: BlockingPortal, directory: Path
    ) -> None:
        super().__init__()
        self.make_version, self.run_app, self.portal = make_version, run_app, portal
        self.store = ModelStore(directory / "store")
        self.settings = Settings(
            model_store=self.store.root, journal_url=f"sqlite:///{directory}/journal.sqlite3", model_poll_s=60
        )
        self.stack = ExitStack()
        # A dictionary for an item that the journal knows, None once it is deleted.
        self.items: dict[str, dict[str, Any] | None] = {}
        self.consumed: dict[str, set[str]] = {}
        self.serving = "v1"

    @initialize()
    def open(self) -> None:
        """Two versions of the same catalogue; the service runs on the first."""
        self.make_version(self.store, "v2", seed=5, promote=False)
        self.make_version(self.store, "v1")
        self.start()

    def start(self) -> None:
        """Starts an app on what is on disk."""
        running = self.stack.enter_context(self.portal.wrap_async_context_manager(self.run_app(self.settings)))
        self.client: httpx.AsyncClient = running.client

    def teardown(self) -> None:
        """Stops it."""
        self.stack.close()

    def call(self, method: str, path: str, expected: int | set[int], **options: Any) -> Any:
        """One request; its body."""
        answer = self.portal.call(lambda: self.client.request(method, path, **options))
        assert answer.status_code in ({expected} if isinstance(expected, int) else expected), answer.text
        return answer.json() if answer.content else None

    @rule(item=ITEMS, facts=FACTS)
    def put(self, item: str, facts: dict[str, Any]) -> None:
        """Adds or replaces an item."""
        self.call("POST", "/items", {200, 201}, json={"item_id": item, **facts})
        self.items[item] = facts

    @rule(items=st.lists(st.tuples(ITEMS, FACTS), min_size=1, max_size=4))
    def put_several(self, items: list[tuple[str, dict[str, Any]]]) -> None:
        """The same for several; one that is no item changes nothing for the others."""
        bodies = [{"item_id": item, **facts} for item, facts in items]
        answer = self.call("POST", "/items/batch", 207, json=[*bodies, {"item_id": "bad", "hidden": "perhaps"}])
        assert (answer["written"], answer["failed"]) == (len(items), 1)
        self.items.update(items)

    @rule(item=ITEMS, facts=FACTS)
    def patch(self, item: str, facts: dict[str, Any]) -> None:
        """Changes some of an item; none that is not there."""
        self.call("PATCH", f"/items/{quoted(item)}", 200 if self.exists(item) else 404, json=facts)
        if self.exists(item):
            # An object merges key by key: an empty one takes nothing away.
            before = self.facts(item)
            merged = {name: value for name, value in facts.items() if name != "modalities" or value}
            attributes = {**before.get("attributes", {}), **facts.get("attributes", {})}
            self.items[item] = {**before, **merged, "attributes": attributes}

    @rule(item=ITEMS)
    def put_again(self, item: str) -> None:
        """Posts an item just as the catalogue gives it: nothing changes, its encoding included."""
        before = self.catalogue(100, features="true").get(item)
        assert (before is not None) == self.exists(item)
        if before is None:
            return
        body = {name: value for name, value in before.items() if name not in ANSWERED}
        written = self.call("POST", "/items", 200, json=body)
        assert written["encoding"] == before["encoding"]
        after = self.catalogue(100, features="true")[item]
        assert {**after, "index_seq": 0} == {**before, "index_seq": 0}
        self.items[item] = self.facts(item)

    @rule(item=ITEMS)
    def delete(self, item: str) -> None:
        """Deletes an item, if it is there."""
        self.call("DELETE", f"/items/{quoted(item)}", 204 if self.exists(item) else 404)
        if self.exists(item):
            self.items[item] = None

    @rule(user=USERS, item=ITEMS)
    def interact(self, user: str, item: str) -> None:
        """A user takes to an item, there or not."""
        self.call("POST", "/interactions", 202, json={"user_id": user, "item_id": item})
        self.consumed.setdefault(user, set()).add(item)

    @rule(user=USERS)
    def erase(self, user: str) -> None:
        """What a user did online is forgotten."""
        self.call("DELETE", f"/users/{quoted(user)}", 204)
        self.consumed.pop(user, None)

    @rule()
    def restart(self) -> None:
        """Everything that was acknowledged is on disk."""
        self.stack.close()
        self.start()

    @rule(version=st.sampled_from(["v1", "v2"]))
    def swap(self, version: str) -> None:
        """Another model serves."""
        answer = self.call("POST", f"/models/{version}/activate", 200)
        assert answer["serving"] == version
        self.serving = version

    @rule(item=ITEMS)
    def look(self, item: str) -> None:
        """An item is there or it is not, shown or hidden."""
        found = self.call("GET", f"/items/{quoted(item)}", 200 if self.exists(item) else 404)
        if self.exists(item):
            facts = self.facts(item)
            assert found["hidden"] == facts.get("hidden", False)
            assert found["categories"] == facts.get("categories", [])
            assert found["attributes"] == facts.get("attributes", {})
            assert ("text" in found["encoding"]["present"]) == bool(facts.get("modalities"))

    @rule(limit=st.sampled_from([3, 7, 100]))
    def list_all(self, limit: int) -> None:
        """The catalogue is what was written and trained, hidden items included, and nothing else."""
        found = self.catalogue(limit)
        assert {*found} == {item for item in {*TRAINED, *self.items} if self.exists(item)}
        for item, listed in found.items():
            facts = self.facts(item)
            assert listed["attributes"] == facts.get("attributes", {})
            assert (listed["hidden"], listed["available"]) == (facts.get("hidden", False), facts.get("available", True))

    def catalogue(self, limit: int, **query: str) -> dict[str, dict[str, Any]]:
        """The whole catalogue, each item of which comes once."""
        items: list[dict[str, Any]] = []
        where: dict[str, Any] = {"limit": limit, **query}
        while True:
            page = self.call("GET", "/items", 200, params=where)
            items += page["items"]
            if page["next_cursor"] is None:
                break
            where["cursor"] = page["next_cursor"]
        assert len(items) == len({item["item_id"] for item in items})
        return {item["item_id"]: item for item in items}

    @rule(
        user=USERS,
        seen=st.sampled_from(["exclude", "include"]),
        category=st.sampled_from([None, "a", "c"]),
        attribute=CONDITIONS,
    )
    def recommend(self, user: str, seen: str, category: str | None, attribute: tuple[str, str] | None) -> None:
        """All that may be shown is shown, and nothing else."""
        query = {"k": ALL, "seen": seen, "model": self.serving} | ({"category": category} if category else {})
        query |= {"attribute": ":".join(attribute)} if attribute else {}
        answer = self.call("GET", f"/recommend/{quoted(user)}", 200, params=query)
        blocked = self.seen(user) if seen == "exclude" else set()
        assert shown(answer) == self.visible(blocked, category, lambda known: has(known, attribute))

    @rule(user=USERS, version=st.sampled_from(["v1", "v2", "v3"]))
    def recommend_by(self, user: str, version: str) -> None:
        """One version answers, the others do not."""
        expected = 200 if version == self.serving else 409
        answer = self.call("GET", f"/recommend/{quoted(user)}", expected, params={"model": version})
        assert expected == 409 or answer["model_version"] == version

    @rule(users=st.lists(USERS, min_size=1, max_size=3))
    def recommend_to_several(self, users: list[str]) -> None:
        """The same for each of several users."""
        answer = self.call("POST", "/recommend/batch", 200, json={"users": users, "k": ALL})
        for user, result in zip(users, answer["results"], strict=True):
            assert shown(result) == self.visible(self.seen(user))

    @rule(history=st.lists(ITEMS, max_size=4), least=st.sampled_from([None, 1, 2, 2.5]))
    def session(self, history: list[str], least: float | None) -> None:
        """The same for a session, of items of some size at least."""
        body: dict[str, Any] = {"history": history, "k": ALL}
        body |= {} if least is None else {"attributes": {"size": {"gte": least}}}
        answer = self.call("POST", "/recommend", 200, json=body)
        assert shown(answer) == self.visible(set(history), None, lambda known: least is None or size(known) >= least)

    @rule(item=ITEMS)
    def similar(self, item: str) -> None:
        """The same beside an item."""
        path = f"/items/{quoted(item)}/similar"
        if not self.exists(item):
            self.call("GET", path, 404)
            return
        assert shown(self.call("GET", path, 200, params={"k": ALL})) == self.visible({item})

    @rule(user=USERS, k=st.integers(1, 7), diversity=st.sampled_from([0, 0.5]))
    def pages(self, user: str, k: int, diversity: float) -> None:
        """Page by page all of it, each item once."""
        found: list[str] = []
        query: dict[str, Any] = {"k": k, "diversity": diversity}
        while True:
            answer = self.call("GET", f"/recommend/{quoted(user)}", 200, params=query)
            found += [item["item_id"] for item in answer["items"]]
            if answer["next_cursor"] is None:
                break
            query["cursor"] = answer["next_cursor"]
        assert len(found) == len(set(found))
        assert set(found) == self.visible(self.seen(user))

    def exists(self, item: str) -> bool:
        """Whether the catalogue holds an item."""
        return self.items[item] is not None if item in self.items else item in TRAINED

    def facts(self, item: str) -> dict[str, Any]:
        """What is known of an item that is there."""
        return (self.items[item] or {}) if item in self.items else trained_facts(item)

    def seen(self, user: str) -> set[str]:
        """What a user consumed, in training and since."""
        number = int(user[1:]) if user in {"u0", "u1", "u5"} else None
        trained = set() if number is None else {TRAINED[number], TRAINED[number + 1]}
        return trained | self.consumed.get(user, set())

    def visible(
        self,
        blocked: set[str],
        category: str | None = None,
        fits: Callable[[dict[str, Any]], bool] = lambda _: True,
    ) -> set[str]:
        """What may be shown."""
        everything = {item for item in {*TRAINED, *self.items} if self.exists(item)}
        facts = {item: self.facts(item) for item in everything}
        return {
            item
            for item, known in facts.items()
            if item not in blocked
            and not known.get("hidden", False)
            and known.get("available", True)
            and known.get("expires_at") != PAST.isoformat()
            and (category is None or category in known.get("categories", []))
            and fits(known)
        }


def trained_facts(item: str) -> dict[str, Any]:
    """What the tests' bundle says of an item: those of odd number are of two categories."""
    number = int(item[1:])
    text = {} if number % 3 == 0 else {"modalities": {"text": "as trained"}}
    return {"categories": ["a", "b"] if number % 2 else [], "attributes": {"brand": "acme"}} | text


def has(facts: dict[str, Any], condition: tuple[str, str] | None) -> bool:
    """Whether an item fulfils a condition of a query."""
    if condition is None:
        return True
    name, text = condition
    found = facts.get("attributes", {}).get(name)
    # By kind as well: to Python True is 1.
    return any(type(found) is type(value) and found == value for value in (SIZES[text] if name == "size" else [text]))


def size(facts: dict[str, Any]) -> float:
    """The size of an item where it is a number, else one that nothing is as small as."""
    found = facts.get("attributes", {}).get("size")
    return {"2": 2.0}.get(found, -1.0) if isinstance(found, str | bool | None) else found


def quoted(name: str) -> str:
    """An id in a path."""
    return quote(name, safe="")


def shown(answer: dict[str, Any]) -> set[str]:
    """The items of a list, each of them once."""
    ids = [item["item_id"] for item in answer["items"]]
    assert len(ids) == len(set(ids))
    return set(ids)


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """An event loop beside the test."""
    with start_blocking_portal("asyncio") as portal:
        yield portal


@pytest.mark.parametrize(
    ("examples", "steps"), [(8, 30), pytest.param(100, 100, marks=pytest.mark.slow)], ids=["short", "10,000 steps"]
)
def test_every_route_shows_what_it_may(
    examples: int,
    steps: int,
    make_version: Callable[..., None],
    run_app: Any,
    portal: BlockingPortal,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Over any course of events."""

    def make() -> Shop:
        return Shop(make_version, run_app, portal, tmp_path_factory.mktemp("shop"))

    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a course of events is told as it was found: making it shorter takes minutes
        ),
    )
