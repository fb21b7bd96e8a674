"""The catalogue piece by piece, while it changes."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from anyio import CapacityLimiter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store import ModelStore
from service.adapters.memory import MemoryCache, MemoryIndex, MemoryJournal
from service.catalog import Catalog, WriteLimits
from service.domain import CatalogItem, DeleteItem, Item, PutItem
from service.errors import InvalidCursor, ModelUnavailable
from service.handle import ServableHandle
from service.inventory import Inventory
from service.metrics import Metrics
from service.servable import Servable

pytestmark = pytest.mark.anyio

TRAINED = [f"i{n:02}" for n in range(12)]


class Scene:
    """A catalogue and its inventory, with in-memory adapters."""

    def __init__(self, store: ModelStore, encoder: Any) -> None:
        bundle = store.load()
        self.journal, self.handle = MemoryJournal(), ServableHandle()
        self.servable = Servable(bundle, encoder, MemoryIndex(list(bundle.items), bundle.item_embeddings))
        self.handle.exchange(self.servable)
        limits = WriteLimits(CapacityLimiter(1), CapacityLimiter(1))
        self.catalog = Catalog(self.handle, self.journal, MemoryCache(1), Metrics(), limits)
        self.inventory = Inventory(self.handle, self.journal, CapacityLimiter(1))

    async def pages(self, limit: int, between: Sequence[Callable[[], Any]] = (), **options: Any) -> list[CatalogItem]:
        """All pages put together; between two of them something else may happen each time."""
        found: list[CatalogItem] = []
        cursor, rest = None, iter(between)
        while True:
            page = await self.inventory.page(limit, cursor, **options)
            assert len(page.items) <= limit
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found
            await next(rest, nothing)()


async def nothing() -> None:
    """Nothing happens."""


@pytest.fixture
def scene(published_store: ModelStore, fake_encoder: Any) -> Scene:
    """A scene on the published version."""
    return Scene(published_store, fake_encoder)


def ids(items: Sequence[CatalogItem]) -> list[str]:
    """Their ids."""
    return [found.item.item_id for found in items]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 12, 13, 100])
async def test_every_item_comes_once(scene: Scene, limit: int) -> None:
    """Whatever the pages' length: what only the model knows by id, then the others by their last record."""
    for name in ("new", "i03", "gone", "i01", "hidden", "new"):
        await scene.catalog.put(Item(name, hidden=name == "hidden", available=name != "i01"))
    for name in ("gone", "i02"):
        await scene.catalog.delete(name)

    found = await scene.pages(limit)

    assert ids(found) == [i for i in TRAINED if i not in {"i01", "i02", "i03"}] + ["i03", "i01", "hidden", "new"]
    assert [each.seq for each in found] == [0] * 9 + [2, 4, 5, 6]


async def test_items_are_described_as_a_look_at_each_describes_them(scene: Scene) -> None:
    """Features apart, which come only where they are asked for."""
    await scene.catalog.put(Item("new", {"text": np.ones(4, np.float32)}, "T", ("a",), {"n": 1}, available=False))
    await scene.catalog.patch("i02", lambda item: Item("i02", item.modalities, "Mine"))

    found = await scene.pages(5)

    assert found == [scene.catalog.get(item_id) for item_id in ids(found)]
    assert all(each.item.modalities == {} for each in found)


async def test_features_come_bit_for_bit(scene: Scene) -> None:
    """Those of the training data and those of the journal, negative zeros and the smallest numbers as well."""
    strange = {"text": np.array([-0.0, 1e-45, 3.4e38, 0.1], np.float32), "image": np.zeros(3, np.float32)}
    await scene.catalog.put(Item("new", strange))

    found = {each.item.item_id: each.item.modalities for each in await scene.pages(4, features=True)}

    assert {name: vector.tobytes() for name, vector in found["new"].items()} == {
        name: vector.tobytes() for name, vector in strange.items()
    }
    bundle = scene.servable.bundle
    for row, item_id in enumerate(TRAINED):
        present = {name for name, table in bundle.features.items() if not np.isnan(table[row]).any()}
        assert found[item_id].keys() == present
        assert all(found[item_id][name].tobytes() == bundle.features[name][row].tobytes() for name in present)


async def test_many_deleted_items_are_passed_over_in_pieces(scene: Scene) -> None:
    """One request looks at so many records and no more; pages without items lead on all the same."""
    for n in range(100):
        scene.servable.apply(scene.journal.append(DeleteItem(f"gone{n}")).result())
    await scene.catalog.put(Item("last"))

    page = await scene.inventory.page(2, None)
    lengths = []
    while page.next_cursor is not None:
        page = await scene.inventory.page(2, page.next_cursor)
        lengths.append(len(page.items))

    assert lengths == [2] * 5 + [0] * 5 + [1]


async def test_what_could_not_be_applied_is_waited_for_no_longer_than_a_minute(scene: Scene) -> None:
    """Nobody brings it before the next start; until then the pages go on without it."""
    await scene.catalog.put(Item("before"))
    lost = scene.journal.append(PutItem(Item("lost"))).result()
    await scene.catalog.put(Item("after"))

    def look(later: timedelta) -> Inventory:
        return Inventory(scene.handle, scene.journal, CapacityLimiter(1), clock=lambda: lost.at + later)

    soon = await look(timedelta(seconds=1)).page(100)
    again = await look(timedelta(seconds=1)).page(100, soon.next_cursor)
    late = await look(timedelta(minutes=2)).page(100, again.next_cursor)

    assert ids(soon.items)[-1] == "before"
    assert (again.items, again.next_cursor) == ([], soon.next_cursor)
    assert (ids(late.items), late.next_cursor) == (["after"], None)


async def test_what_is_written_meanwhile_comes_towards_the_end(scene: Scene) -> None:
    """An item that came already comes again as it is now, one that is still to come comes once; deleted ones do not."""
    between = [
        lambda: scene.catalog.put(Item("i00", title="again")),
        lambda: scene.catalog.put(Item("i11", title="later")),
        lambda: scene.catalog.delete("i09"),
        lambda: scene.catalog.put(Item("new")),
    ]

    found = await scene.pages(3, between)

    assert ids(found) == [i for i in TRAINED if i not in {"i09", "i11"}] + ["i00", "i11", "new"]
    assert [each.item.title for each in found[-3:]] == ["again", "later", None]


names = st.sampled_from([*TRAINED[:4], *TRAINED[-2:], "a", "j", "z"])
events = st.lists(st.one_of(st.tuples(st.just("put"), names), st.tuples(st.just("delete"), names)), max_size=12)


@given(before=events, meanwhile=events, limit=st.integers(1, 6), together=st.integers(1, 4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_nothing_is_left_out_whatever_is_written_meanwhile(
    published_store: ModelStore, fake_encoder: Any, before: list[Any], meanwhile: list[Any], limit: int, together: int
) -> None:
    """Who is there at the end has come, as they are at the end; who was never there has not."""
    scene = Scene(published_store, fake_encoder)

    async def happen(steps: list[tuple[str, str]]) -> None:
        for kind, name in steps:
            if kind == "put":
                await scene.catalog.put(Item(name, title=str(scene.journal.last_seq())))
            elif name in scene.servable:
                await scene.catalog.delete(name)

    await happen(before)
    there = {item_id for item_id in {*TRAINED, *"ajz"} if item_id in scene.servable}
    parts = [meanwhile[start : start + together] for start in range(0, len(meanwhile), together)]
    told = 0

    async def next_part() -> None:
        nonlocal told
        await happen(parts[told])
        told += 1

    found = await scene.pages(limit, [next_part] * len(parts))

    latest = {each.item.item_id: each for each in found}
    written = {name for part in parts[:told] for _, name in part}
    assert {item_id for item_id in {*TRAINED, *"ajz"} if item_id in scene.servable} <= {*latest}
    assert {*latest} <= there | written
    assert all(latest[i] == scene.catalog.get(i) for i in latest if i in scene.servable)
    untouched = [item_id for item_id in ids(found) if item_id not in written]
    assert len(untouched) == len({*untouched})


async def test_record_that_is_not_searchable_yet_is_not_left_out(scene: Scene) -> None:
    """A page that is read between a record's way to disk and its way into the index must not lead past it."""
    await scene.catalog.put(Item("before"))
    record = scene.journal.append(PutItem(Item("new"))).result()

    first = await scene.inventory.page(100, None)
    second = await scene.inventory.page(100, first.next_cursor)
    scene.servable.apply(record, scene.servable.encoder.encode([{}])[0])
    found = [*first.items, *second.items]
    if second.next_cursor is not None:
        found += (await scene.inventory.page(100, second.next_cursor)).items

    assert ids(found) == [*TRAINED, "before", "new"]


STRANGE = [
    "",
    "a",
    "====",
    "eA",
    "d",
    "dw",
    "dy0x",
    "dzAx",
    "dysx",
    "dzEuNQ",
    "dzEg",
    "_____w",
    "dzk5" + "OTk5" * 8,
]


@pytest.mark.parametrize("cursor", STRANGE, ids=repr)
async def test_strange_cursors_are_refused(scene: Scene, cursor: str) -> None:
    """What was never given: no base64, no text, no kind, no number."""
    with pytest.raises(InvalidCursor):
        await scene.inventory.page(10, cursor)


async def test_nothing_is_listed_without_a_model() -> None:
    """There is no catalogue yet."""
    with pytest.raises(ModelUnavailable):
        await Inventory(ServableHandle(), MemoryJournal(), CapacityLimiter(1)).page(10)
