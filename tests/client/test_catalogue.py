"""The whole catalogue, and items that the caller may know already."""

from array import array
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from i3rec_client import AsyncClient, Item, NotFound, PreconditionFailed, UnexpectedAnswer

ENCODING = {"present": ["text"], "missing": [], "confidence": 0.5, "model_version": "v1"}
LISTED = {
    "item_id": "a",
    "title": None,
    "categories": [],
    "attributes": {},
    "available": True,
    "hidden": False,
    "expires_at": None,
    "index_seq": 7,
    "encoding": ENCODING,
}


def page(*items: Any, cursor: str | None = None) -> httpx.Response:
    """A page as the service answers it."""
    return httpx.Response(200, json={"items": items, "next_cursor": cursor})


@pytest.mark.anyio
async def test_all_items_are_given_in_pieces(client: AsyncClient) -> None:
    """Whatever a page holds, the iterator gives what was trained and what was written, each with all it has."""
    item = Item(
        "new",
        {"text": [0.5, -1.0, 2.0, 0.25]},
        title="T",
        categories=["a"],
        attributes={"year": 2001},
        hidden=True,
        expires_at=datetime(2100, 1, 31, 12, tzinfo=UTC),
    )
    written = await client.put_item(item)
    await client.delete_item("i03")

    whole = [found async for found in client.iter_items(features=True)]
    bare = [found async for found in client.iter_items(page=5, request_id="mine")]
    first = await client.list_items(limit=5)
    second = await client.list_items(limit=5, cursor=first.next_cursor, features=True)

    assert [found.item_id for found in whole] == [*(f"i{n:02}" for n in range(12) if n != 3), "new"]
    assert [found.item_id for found in bare] == [found.item_id for found in whole]
    assert (*first.items, *second.items) == (*bare[:5], *whole[5:10])
    assert {found.modalities for found in bare} == {None}
    new = whole[-1]
    assert new.modalities == {"text": array("f", [0.5, -1.0, 2.0, 0.25])}
    assert (new.index_seq, new.encoding, new.hidden, new.expires_at) == (
        written.index_seq,
        written.encoding,
        True,
        item.expires_at,
    )
    assert (await client.get_item("new")).modalities is None


@pytest.mark.anyio
async def test_items_can_be_written_as_they_were_given(client: AsyncClient) -> None:
    """An item with its features is one to write; without them it is not, for it would lose them."""
    await client.put_item(Item("a", {"text": [1.0, 2.0, 3.0, 4.0]}, title="T", attributes={"year": 2001}, hidden=True))

    before = [found async for found in client.iter_items(features=True)][-1]
    await client.put_item(before.as_item())
    after = [found async for found in client.iter_items(features=True)][-1]

    assert after.as_item() == before.as_item()
    assert after.index_seq > before.index_seq
    with pytest.raises(ValueError, match="features=True"):
        (await client.get_item("a")).as_item()


def test_pages_may_be_empty_before_the_last(scripted: Any) -> None:
    """The iterator goes on until no cursor comes, asks only for what is needed, and says the same each time."""
    service = scripted(page(LISTED, cursor="c1"), page(cursor="c2"), page(LISTED | {"item_id": "b"}))

    with service.client() as client:
        items = client.iter_items(features=True, page=3)
        assert service.requests == []
        assert next(items).item_id == "a"
        assert len(service.requests) == 1
        assert [item.item_id for item in items] == ["b"]

    assert [request.url.query for request in service.requests] == [
        b"limit=3&features=true",
        b"limit=3&cursor=c1&features=true",
        b"limit=3&cursor=c2&features=true",
    ]


@pytest.mark.parametrize("features", ["x", "AAA=", "AAAA"])
def test_features_that_are_none_are_noticed(scripted: Any, features: str) -> None:
    """What is no base64 of float32 numbers did not come from this service."""
    service = scripted(page(LISTED | {"modalities": {"text": {"embedding_b64": features}}}))

    with service.client() as client, pytest.raises(UnexpectedAnswer):
        client.list_items(features=True)


@pytest.mark.anyio
async def test_items_are_given_only_where_they_changed(client: AsyncClient) -> None:
    """By number or entity tag: None where the item is still that, the item where it is another, an error for none."""
    written = await client.put_item(Item("a"))
    seen = await client.get_item("a")

    assert seen.index_seq == written.index_seq
    assert await client.get_item("a", if_none_match=seen.etag) is None
    assert await client.get_item("a", if_none_match=seen.index_seq) is None
    assert await client.get_item("a", if_none_match="*") is None
    await client.put_item(Item("a", title="T"), if_match=seen.etag)
    changed = await client.get_item("a", if_none_match=seen.etag)
    assert changed is not None
    assert (changed.title, changed.etag != seen.etag) == ("T", True)
    with pytest.raises(PreconditionFailed):
        await client.delete_item("a", if_match=seen.etag)
    with pytest.raises(NotFound):
        await client.get_item("none", if_none_match=seen.etag)


@pytest.mark.anyio
async def test_etag_is_the_one_of_the_header(run_app: Any, settings: Any) -> None:
    """The tag of an item, listed or not, is what the service names it."""
    async with (
        run_app(settings) as transport,
        httpx.AsyncClient(base_url="http://test", transport=transport) as http,
        AsyncClient("http://test", transport=transport) as client,
    ):
        await client.put_item(Item("a"))
        tags = {name: (await http.get(f"/items/{name}")).headers["etag"] for name in ("a", "i00")}
        seen = [await client.get_item(name) for name in tags]
        listed = [item async for item in client.iter_items() if item.item_id in tags]

    assert {item.item_id: item.etag for item in seen} == {item.item_id: item.etag for item in listed} == tags


@pytest.mark.parametrize("tag", ["7", "", '"7', '"é"', '"a b"', '"7"\r\nX: y', "**"])
def test_tags_that_are_none_are_refused_at_once(scripted: Any, tag: str) -> None:
    """A number in quotes is a tag, a bare one is not: nothing is sent."""
    service = scripted(page())

    with service.client() as client, pytest.raises(ValueError, match="expected an index_seq"):
        client.get_item("a", if_none_match=tag)

    assert service.requests == []
