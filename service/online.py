"""What a record about an item says of it, as it is held in memory: without the features, which are in the journal."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from service.domain import Encoding, Item, Online, PutItem, Record, Vector


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds of an item already, as long as its features stay what they are.

    Attributes:
        since: see ``PutItem``.
        encoding: what they were encoded to; None where the vector that holds is the bundle's.
    """

    since: int
    encoding: Encoding | None


def online(record: Record, encoding: Encoding | None) -> Online:
    """What a record about an item says of it."""
    if not isinstance(record.entry, PutItem):
        return Online(record.seq, None, encoding, record.seq, b"")
    item = record.entry.item
    return Online(record.seq, _without_features(item), encoding, since_of(record), digest_of(item.modalities))


def _without_features(item: Item) -> Item:
    """The description of an item; ``replace`` would take three times as long."""
    return Item(
        item.item_id,
        {},
        item.title,
        item.categories,
        item.attributes,
        item.available,
        item.hidden,
        item.expires_at,
        raw=item.raw,
        made_by={},
    )


def since_of(record: Record) -> int:
    """The ``seq`` at which the features of a record became what they are."""
    since = record.entry.since if isinstance(record.entry, PutItem) else None
    return record.seq if since is None else since


def digest_of(modalities: Mapping[str, Vector]) -> bytes:
    """What stands for features when they are compared."""
    parts: list[bytes] = []
    for name in sorted(modalities):
        vector = modalities[name]
        parts += f"{name}\0{vector.size}\0".encode(), np.asarray(vector, dtype=np.float32).tobytes()
    return blake2b(b"".join(parts), digest_size=16).digest()
