"""What a record about an item says of it, as it is held in memory: without the features, which are in the journal."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from service.domain import NOTHING, Encoding, Item, Online, PutItem, Record, Vector


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds of an item already, as long as its features stay what they are.

    Attributes:
        since: see ``PutItem``.
        encoding: what they were encoded to; None where the vector that holds is the bundle's.
        seq: of the item's latest record, which says so; 0 where it has none.
    """

    since: int
    encoding: Encoding | None
    seq: int


def online(record: Record, encoding: Encoding | None) -> Online:
    """What a record about an item says of it."""
    if not isinstance(record.entry, PutItem):
        return Online(record.seq, None, encoding, record.seq, b"")
    item = record.entry.item
    return Online(record.seq, _without_features(item), encoding, since_of(record), digest_of(item.modalities))


def _without_features(item: Item) -> Item:
    """The description of an item; ``_replace`` would take twice as long."""
    item_id, _, title, categories, attributes, available, hidden, expires_at, raw, _ = item
    return Item(item_id, NOTHING, title, categories, attributes, available, hidden, expires_at, raw, NOTHING)


def since_of(record: Record) -> int:
    """The ``seq`` at which the features of a record became what they are."""
    since = record.entry.since if isinstance(record.entry, PutItem) else None
    return record.seq if since is None else since


def digest_of(modalities: Mapping[str, Vector]) -> bytes:
    """What stands for features when they are compared."""
    digest = blake2b(digest_size=16)
    for name in sorted(modalities):
        vector = modalities[name]
        digest.update(_head(name, vector.size))
        digest.update(np.ascontiguousarray(vector, dtype=np.float32).data)
    return digest.digest()


@lru_cache(maxsize=256)
def _head(name: str, size: int) -> bytes:
    return f"{name}\0{size}\0".encode()
