"""The routes of items as calls."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from i3rec_client.bodies import ItemLike, encoded, item_content, patch_content
from i3rec_client.call import JSON, Call, nothing, quoted, reader
from i3rec_client.documents import Document
from i3rec_client.item_answers import BatchAnswer, CatalogItem, ItemPage, Result, Written
from i3rec_client.parts import Part, read_results
from i3rec_client.replies import Reply

Tag = int | str | None
"""For If-Match and If-None-Match: an item's ``index_seq`` or ``etag``, "*" for any item, None for no condition."""

_TAG = re.compile(r'\*|(W/)?"[!#-~]*"')


def put_item(item: ItemLike, if_match: Tag = None, if_none_match: Tag = None) -> Call[Written]:
    """Replacing an item twice is harmless; only that there was none before is not true the second time."""
    headers = {"Content-Type": JSON} | _conditions(if_match, if_none_match)
    content, repeatable = encoded(item_content(item)), if_none_match is None
    return Call("POST", "/items", _written, headers=headers, content=content, repeatable=repeatable)


def patch_item(item_id: str, patch: Mapping[str, Any], if_match: Tag = None) -> Call[Written]:
    """A patch repeated after somebody else's would undo theirs, unless If-Match forbids it."""
    headers = {"Content-Type": "application/merge-patch+json"} | _conditions(if_match)
    content, repeatable = encoded(patch_content(patch)), if_match not in {None, "*"}
    return Call("PATCH", item_path(item_id), _written, headers=headers, content=content, repeatable=repeatable)


def get_item(item_id: str) -> Call[CatalogItem]:
    """An item as it stands."""
    return Call("GET", item_path(item_id), reader(CatalogItem.read), repeatable=True)


def get_changed_item(item_id: str, if_none_match: Tag) -> Call[CatalogItem | None]:
    """An item, but where it is as the caller knows it."""
    seen = reader(CatalogItem.read)

    def read(reply: Reply) -> CatalogItem | None:
        return None if reply.status == 304 else seen(reply)  # noqa: PLR2004

    headers = _conditions(if_none_match=if_none_match)
    return Call("GET", item_path(item_id), read, headers=headers, repeatable=True)


def list_items(limit: int | None = None, cursor: str | None = None, *, features: bool = False) -> Call[ItemPage]:
    """A page of the catalogue."""
    given = {"limit": limit, "cursor": cursor, "features": "true" if features else None}
    query = [(name, str(value)) for name, value in given.items() if value is not None]
    return Call("GET", "/items", reader(ItemPage.read), query=query, repeatable=True)


def delete_item(item_id: str, if_match: Tag = None) -> Call[None]:
    """Where an earlier attempt may have deleted the item, that it is gone is as it should be."""
    headers = _conditions(if_match)
    return Call("DELETE", item_path(item_id), _gone, headers=headers, repeatable=True)


def put_items(items: Iterable[ItemLike]) -> Call[BatchAnswer]:
    """Many items at once, as an array."""
    content = encoded([item_content(item) for item in items])
    read, headers = reader(BatchAnswer.read), {"Content-Type": JSON}
    return Call("POST", "/items/batch", read, headers=headers, content=content, repeatable=True)


def load(part: Part) -> Call[tuple[Result, ...]]:
    """Many items at once, as lines."""

    def read(reply: Reply) -> tuple[Result, ...]:
        return reply.made(lambda text: read_results(text, part))

    headers = {"Content-Type": "application/x-ndjson"}
    return Call("POST", "/items/batch", read, headers=headers, content=part.content, repeatable=True)


def item_path(item_id: str) -> str:
    """Where an item is."""
    return f"/items/{quoted(item_id)}"


def _conditions(if_match: Tag = None, if_none_match: Tag = None) -> dict[str, str]:
    tags = {"If-Match": if_match, "If-None-Match": if_none_match}
    return {name: _tag(tag) for name, tag in tags.items() if tag is not None}


def _tag(tag: int | str) -> str:
    if isinstance(tag, int):
        return f'"{tag}"'
    if not _TAG.fullmatch(tag):
        raise ValueError(f"expected an index_seq, an ETag such as '\"7\"', or '*', found {tag!r}")
    return tag


def _written(reply: Reply) -> Written:
    return reply.made(lambda text: Written.read(Document.parse(text), created=reply.status == 201))  # noqa: PLR2004


def _gone(reply: Reply) -> None:
    if not (reply.status == 404 and reply.repeated):  # noqa: PLR2004
        nothing(reply)
