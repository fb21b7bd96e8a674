"""Every route of the real app through the client."""

import inspect
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from i3rec_client import (
    AsyncClient,
    Client,
    Conflict,
    Event,
    InvalidRequest,
    Item,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    Retry,
    Unavailable,
    calls,
    item_calls,
)
from model_store import ModelStore
from service.app import create_app
from service.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = [0.5, -1.0, 2.0, 0.25]
IMAGE = np.array([1.0, 2.0, 3.0])


async def test_item_is_written_patched_seen_and_deleted(client: AsyncClient) -> None:
    """An item's whole life, with every field it can have."""
    item = Item(
        "new/1",
        {"text": TEXT},
        title="Café",
        categories=["a", "b"],
        attributes={"brand": "acme", "year": 2001, "rating": 4.5, "used": True},
        available=False,
        hidden=True,
        expires_at=datetime(2100, 1, 31, 12, tzinfo=UTC),
    )

    written = await client.put_item(item)
    seen = await client.get_item("new/1")
    patched = await client.patch_item(
        "new/1", {"modalities": {"image": IMAGE}, "title": None}, if_match=written.index_seq
    )
    after = await client.get_item("new/1")
    await client.delete_item("new/1")

    assert (written.created, written.encoding.present, written.encoding.missing) == (True, ("text",), ("image",))
    assert (seen.title, seen.categories, seen.attributes) == ("Café", ("a", "b"), item.attributes)
    assert (seen.available, seen.hidden, seen.expires_at) == (False, True, item.expires_at)
    assert (seen.index_seq, seen.encoding) == (written.index_seq, written.encoding)
    assert (patched.created, patched.encoding.present, after.title) == (False, ("image", "text"), None)
    with pytest.raises(NotFound):
        await client.get_item("new/1")


@pytest.mark.parametrize("item_id", ["a/b", "..", ".", "x/similar", "a?b#c", "100%", "ü &+", "batch", "a\\b"])
async def test_any_id_reaches_its_item(client: AsyncClient, item_id: str) -> None:
    """Ids that mean something in a URL are items like others, on every route that has them in its path."""
    await client.put_item(Item(item_id))

    assert (await client.get_item(item_id)).item_id == item_id
    assert (await client.patch_item(item_id, {"title": "T"})).item_id == item_id
    assert item_id not in {place.item_id for place in (await client.similar(item_id, k=500)).items}
    assert (await client.recommend(item_id)).user_id == item_id
    await client.erase_user(item_id)
    await client.delete_item(item_id)
    with pytest.raises(NotFound):
        await client.delete_item(item_id)


async def test_conditions_hold(client: AsyncClient) -> None:
    """Writers say which item they mean, by number, as any one, or as none."""
    first = await client.put_item(Item("a"), if_none_match="*")
    second = await client.put_item({"item_id": "a", "title": "T"}, if_match=first.index_seq)

    for refused in (
        client.put_item(Item("a"), if_none_match="*"),
        client.put_item(Item("b"), if_match="*"),
        client.patch_item("a", {"title": "U"}, if_match=first.index_seq),
        client.delete_item("a", if_match=first.index_seq),
    ):
        with pytest.raises(PreconditionFailed):
            await refused
    assert (await client.get_item("a")).title == "T"
    await client.delete_item("a", if_match=second.index_seq)


async def test_invalid_items_are_pointed_at(client: AsyncClient) -> None:
    """The error holds what the problem document says, and the request's id."""
    with pytest.raises(InvalidRequest) as caught:
        await client.put_item(Item("a", {"text": [1.0]}), request_id="my-request")

    error = caught.value
    assert (error.status, error.type) == (422, "urn:i3rec:problem:invalid-request")
    assert [(fault.pointer, fault.detail) for fault in error.errors] == [
        ("/modalities/text", "expected 4 numbers, found 1")
    ]
    assert error.request_id == "my-request"
    assert "expected 4 numbers" in str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
async def test_numbers_no_float_can_hold_are_refused_either_way(client: AsyncClient, value: float) -> None:
    """As a list and as an array alike the service says which modality it is."""
    for vector in ([value, 0.0, 0.0, 0.0], np.array([value, 0.0, 0.0, 0.0])):
        with pytest.raises(InvalidRequest) as caught:
            await client.put_item(Item("a", {"text": vector}))

        assert caught.value.errors[0].pointer.startswith("/modalities/text")


async def test_batch_has_a_result_for_each_item(client: AsyncClient) -> None:
    """Bad items have their problem, the others what a single request gives."""
    answer = await client.put_items([Item("a", {"text": TEXT}), {"item_id": "b", "titel": "T"}, Item("i00")])

    assert (answer.written, answer.failed) == (2, 1)
    assert [(result.item_id, result.status, result.line) for result in answer.results] == [
        ("a", 201, None),
        ("b", 422, None),
        ("i00", 200, None),
    ]
    created, refused, _ = answer.results
    assert created.encoding is not None
    assert created.encoding.present == ("text",)
    assert refused.error is not None
    assert refused.error.errors[0].pointer == "/titel"


async def test_interactions_count_once(client: AsyncClient) -> None:
    """One event, many, the same again; what was taken to is not recommended again, until the user is erased."""
    at = datetime(2020, 1, 1, tzinfo=UTC)
    one = await client.interact(Event("new", "i05", kind="click", at=at))
    many = await client.interact([Event("new", "i06", event_id="e"), Event("new", "i06", event_id="e")])

    assert (one.accepted, one.repeated, many.accepted, many.repeated) == (1, 0, 1, 1)
    found = await client.recommend("new", k=500)
    assert found.strategy == "personal"
    assert not {"i05", "i06"} & {place.item_id for place in found.items}
    await client.erase_user("new")
    assert (await client.recommend("new")).strategy == "popular"


async def test_options_arrive(client: AsyncClient) -> None:
    """Options mean the same as a query and in a body, and None is as if it were left out."""
    history = ["i02", "i03"]
    for ask in (
        lambda **options: client.recommend("u2", **options),
        lambda **options: client.recommend_session(history, **options),
        lambda **options: client.similar("i02", **options),
    ):
        whole = await ask(k=500)
        first, second, third = (place.item_id for place in whole.items[:3])
        short = await ask(k=2, exclude=[first], explain=True, diversity=0, seen=None, min_score=None)
        one = await ask(category="a", exclude=second, max_per_category=500)

        assert [place.item_id for place in short.items] == [second, third]
        assert short.items[0].reasons is not None
        assert whole.items[0].reasons is None
        assert {int(place.item_id[1:]) % 2 for place in one.items} == {1}
        assert second not in {place.item_id for place in one.items}
        with pytest.raises(InvalidRequest):
            await ask(kk=3)


async def test_lists_say_where_they_come_from(client: AsyncClient) -> None:
    """All that an answer holds is in the value."""
    found = await client.recommend("u0", k=3, explain=True, request_id="r")
    several = await client.recommend_batch(["u0", "nobody"], k=3)

    assert (found.request_id, found.user_id, found.strategy, found.model_version) == ("r", "u0", "personal", "v1")
    assert [place.rank for place in found.items] == [1, 2, 3]
    reasons = found.items[0].reasons
    assert reasons is not None
    assert {liked.item_id for liked in reasons.liked} <= {"i00", "i01"}
    assert [(each.user_id, each.strategy) for each in several] == [("u0", "personal"), ("nobody", "popular")]
    assert [place.item_id for place in several[0].items] == [place.item_id for place in found.items]
    with pytest.raises(NotFound):
        await client.recommend("nobody", strict=True)


async def test_pages_are_the_list_cut(client: AsyncClient) -> None:
    """All pages together are the long list, and a page begins where its cursor says."""
    whole = [place.item_id for place in (await client.recommend("u0", k=500)).items]

    pages = [[place.item_id for place in page.items] async for page in client.pages("u0", k=3)]
    cursor = (await client.recommend("u0", k=3)).next_cursor
    later = [[place.item_id for place in page.items] async for page in client.pages("u0", k=3, cursor=cursor)]

    assert [item_id for page in pages for item_id in page] == whole
    assert {len(page) for page in pages[:-1]} == {3}
    assert later == pages[1:]


async def test_models_change(client: AsyncClient, published_store: ModelStore, make_version: Any) -> None:
    """Versions are listed, promoted and rolled back."""
    make_version(published_store, "v2", seed=2, promote=False)

    with pytest.raises(Conflict):
        await client.rollback()
    promotion = await client.activate("v2")
    listing = await client.models()
    back = await client.rollback()

    assert (promotion.promoted, promotion.before) == ("v2", "v1")
    assert (listing.versions, listing.promoted) == (("v1", "v2"), "v2")
    assert (back.promoted, back.before) == ("v1", "v2")
    with pytest.raises(NotFound):
        await client.activate("v/9")


async def test_readiness_says_what_serves(
    client: AsyncClient, run_app: Any, settings: Settings, tmp_path: Path
) -> None:
    """A ready service names its model; one without any is Unavailable, which is an answer: nothing is tried again."""
    ready = await client.ready()

    assert (ready.status, ready.model_version, ready.degraded) == ("ready", "v1", ())
    empty = settings.model_copy(update={"model_store": tmp_path / "none"})
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with (
        run_app(empty) as transport,
        AsyncClient("http://test", transport=transport, retry=Retry(chance=lambda: 0.0), sleep=sleep) as other,
    ):
        with pytest.raises(Unavailable):
            await other.ready()
        assert waits == []
        with pytest.raises(Unavailable):
            await other.recommend("u0")
    assert waits == pytest.approx([2.2, 2.4, 2.8, 3.6])  # the service asks for 2 s; what doubles comes on top


async def test_keys_are_sent(run_app: Any, settings: Settings) -> None:
    """A key reaches as far as the service says; without one nothing is reached."""
    keys = {name: (SecretStr(f"{name}-0123456789ab"),) for name in ("read_keys", "write_keys")}
    async with run_app(settings.model_copy(update=keys)) as transport:

        def known(key: str | None) -> AsyncClient:
            return AsyncClient("http://test", transport=transport, api_key=key)

        async with known("write_keys-0123456789ab") as writer:
            await writer.put_item(Item("a"))
        async with known("read_keys-0123456789ab") as reader:
            assert (await reader.get_item("a")).item_id == "a"
            with pytest.raises(NotAllowed) as too_far:
                await reader.delete_item("a")
        async with known(None) as stranger:
            with pytest.raises(NotAllowed) as unknown:
                await stranger.get_item("a")

    assert (too_far.value.status, unknown.value.status) == (403, 401)


def test_both_clients_have_the_same_methods() -> None:
    """What one client can do the other can, with the same arguments."""

    def methods(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(f).parameters) for name, f in found if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


def test_every_route_has_a_call(settings: Settings) -> None:
    """The calls are the routes of the service's own document, but for those that are for machines."""
    made = [
        item_calls.put_item(Item("i")),
        item_calls.patch_item("i", {}),
        item_calls.get_item("i"),
        item_calls.list_items(),
        item_calls.delete_item("i"),
        item_calls.put_items([]),
        calls.interact([], make_ids=True),
        calls.recommend("u", {}),
        calls.recommend_session([], {}),
        calls.recommend_batch([], {}),
        calls.similar("i", {}),
        calls.erase_user("u"),
        calls.models(),
        calls.activate("v"),
        calls.rollback(),
        calls.ready(),
    ]
    paths = create_app(settings).openapi()["paths"]
    routes = {(method.upper(), path) for path, operations in paths.items() for method in operations}

    named = {"i": "{item_id}", "u": "{user_id}", "v": "{version}"}
    found = {(call.method, "/".join(named.get(part, part) for part in call.path.split("/"))) for call in made}

    assert found == routes - {("GET", "/livez"), ("GET", "/metrics")}
