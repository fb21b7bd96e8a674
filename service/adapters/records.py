"""Journal entries as text: JSON, vectors as base64 of little-endian float32."""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from service.domain import DeleteItem, Entry, EraseUser, Interact, Item, PutItem, Vector
from service.errors import StorageUnavailable

PUT, DELETE, INTERACT, ERASE = "put", "delete", "interact", "erase"
_FORMAT = 1
_LITTLE_ENDIAN = np.dtype("<f4")


def columns_of(entry: Entry) -> dict[str, str | None]:
    """The kind of an entry, the item and the user it is about, and its event id, as they are stored."""
    match entry:
        case PutItem(item):
            return _columns(PUT, item_id=item.item_id)
        case DeleteItem(item_id):
            return _columns(DELETE, item_id=item_id)
        case Interact(user_id, item_id, event_id=event_id):
            return _columns(INTERACT, item_id=item_id, user_id=user_id, event_id=event_id)
        case EraseUser(user_id):
            return _columns(ERASE, user_id=user_id)


def _columns(
    kind: str, *, item_id: str | None = None, user_id: str | None = None, event_id: str | None = None
) -> dict[str, str | None]:
    return {"kind": kind, "item_id": item_id, "user_id": user_id, "event_id": event_id}


def encode_payload(entry: Entry) -> str:
    """What is stored of an entry beside its columns."""
    facts: dict[str, Any] = {"format": _FORMAT}
    if isinstance(entry, PutItem):
        item = entry.item
        facts["modalities"] = {name: _pack(vector) for name, vector in item.modalities.items()}
        facts.update(description_of(item))
        facts["since"], facts["made_by"] = entry.since, dict(item.made_by)
    elif isinstance(entry, Interact):
        facts |= {"kind": entry.kind, "at": entry.at.isoformat() if entry.at else None}
    return orjson.dumps(facts).decode()


def description_of(item: Item) -> dict[str, Any]:
    """What is stored of an item beside its features."""
    return {
        "title": item.title,
        "categories": item.categories,
        "attributes": dict(item.attributes),
        "available": item.available,
        "hidden": item.hidden,
        "expires_at": item.expires_at.isoformat() if item.expires_at else None,
    }


def item_without_features(item_id: str, facts: Mapping[str, Any]) -> Item:
    """The item of which ``description_of`` gave these facts."""
    expires_at = facts["expires_at"]
    return Item(
        item_id,
        title=facts["title"],
        categories=tuple(facts["categories"]),
        attributes=facts["attributes"],
        available=facts["available"],
        hidden=facts["hidden"],
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
    )


def decode_entry(seq: int, columns: Mapping[str, Any], payload: str) -> Entry:
    """The entry of a stored row.

    Raises:
        StorageUnavailable: the row is not one of ours; names its ``seq``.
    """
    try:
        facts = orjson.loads(payload)
        if facts["format"] != _FORMAT:
            raise ValueError(f"expected format {_FORMAT}, found {facts['format']!r}")
        return _entry(columns, facts)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageUnavailable(f"journal record {seq} is unreadable: {exc!r}") from exc


def _entry(columns: Mapping[str, Any], facts: dict[str, Any]) -> Entry:
    kind = columns["kind"]
    if kind == PUT:
        return PutItem(_item(_id(columns, "item_id"), facts), _since(facts.get("since")))
    if kind == DELETE:
        return DeleteItem(_id(columns, "item_id"))
    if kind == INTERACT:
        at = datetime.fromisoformat(facts["at"]) if facts["at"] else None
        return Interact(_id(columns, "user_id"), _id(columns, "item_id"), facts["kind"], at, columns["event_id"])
    if kind == ERASE:
        return EraseUser(_id(columns, "user_id"))
    raise ValueError(f"expected one of {PUT}, {DELETE}, {INTERACT}, {ERASE}, found {kind!r}")


def _since(value: object) -> int | None:
    """The ``since`` of an entry; entries of old have none."""
    if value is not None and type(value) is not int:
        raise TypeError(f"expected a number as since, found {value!r}")
    return value


def _id(columns: Mapping[str, Any], name: str) -> str:
    """An id that rows of this kind have; as others have none, the database cannot insist on it."""
    value = columns[name]
    if not isinstance(value, str):
        raise TypeError(f"expected a text as {name}, found {value!r}")
    return value


def _item(item_id: str, facts: dict[str, Any]) -> Item:
    modalities = {name: _unpack(text) for name, text in facts["modalities"].items()}
    return item_without_features(item_id, facts)._replace(modalities=modalities, made_by=dict(facts.get("made_by", {})))


def _pack(vector: Vector) -> str:
    return binascii.b2a_base64(np.asarray(vector, dtype=_LITTLE_ENDIAN).tobytes(), newline=False).decode()


def _unpack(text: str) -> Vector:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=_LITTLE_ENDIAN).astype(np.float32)
    except binascii.Error as exc:
        raise ValueError(f"vector: {exc}") from exc
