"""Journal entries as text: JSON, vectors as base64 of little-endian float32."""

import base64
import binascii
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from service.domain import DeleteItem, Entry, Item, PutItem, Vector
from service.errors import StorageUnavailable

PUT, DELETE = "put", "delete"
_FORMAT = 1
_LITTLE_ENDIAN = np.dtype("<f4")


def kind_of(entry: Entry) -> str:
    """The name an entry's kind is stored under."""
    return DELETE if isinstance(entry, DeleteItem) else PUT


def item_of(entry: Entry) -> str:
    """The item an entry is about."""
    return entry.item_id if isinstance(entry, DeleteItem) else entry.item.item_id


def encode_payload(entry: Entry) -> str:
    """What is stored of an entry beside its kind and item id."""
    facts: dict[str, Any] = {"format": _FORMAT}
    if isinstance(entry, PutItem):
        item = entry.item
        facts |= {
            "modalities": {name: _pack(vector) for name, vector in item.modalities.items()},
            "title": item.title,
            "categories": item.categories,
            "attributes": dict(item.attributes),
            "available": item.available,
            "hidden": item.hidden,
            "expires_at": item.expires_at.isoformat() if item.expires_at else None,
        }
    return orjson.dumps(facts).decode()


def decode_entry(seq: int, kind: str, item_id: str, payload: str) -> Entry:
    """The entry of a stored row.

    Raises:
        StorageUnavailable: the row is not one of ours; names its ``seq``.
    """
    try:
        facts = orjson.loads(payload)
        if facts["format"] != _FORMAT or kind not in {PUT, DELETE}:
            raise ValueError(f"expected format {_FORMAT} and put or delete, found {facts['format']!r} and {kind!r}")
        return DeleteItem(item_id) if kind == DELETE else PutItem(_item(item_id, facts))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise StorageUnavailable(f"journal record {seq} is unreadable: {exc!r}") from exc


def _item(item_id: str, facts: dict[str, Any]) -> Item:
    expires_at = facts["expires_at"]
    return Item(
        item_id,
        {name: _unpack(text) for name, text in facts["modalities"].items()},
        facts["title"],
        tuple(facts["categories"]),
        facts["attributes"],
        available=facts["available"],
        hidden=facts["hidden"],
        expires_at=datetime.fromisoformat(expires_at) if expires_at else None,
    )


def _pack(vector: Vector) -> str:
    return base64.b64encode(np.asarray(vector, dtype=_LITTLE_ENDIAN).tobytes()).decode()


def _unpack(text: str) -> Vector:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=_LITTLE_ENDIAN).astype(np.float32)
    except binascii.Error as exc:
        raise ValueError(f"vector: {exc}") from exc
