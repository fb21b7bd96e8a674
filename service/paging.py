"""Cursors: what a caller has been shown so far, so that no page repeats an item, whatever changes between them.

A cursor names the shown items by 40-bit hashes. It needs no memory in the service: it holds over restarts, on every
replica and for the next model version, too. Two ids that share a hash cost the second its place, once in 10¹² pairs.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from service.errors import InvalidCursor

FORMAT = b"\x01"
"""What every cursor begins with."""
HASH_BYTES = 5
"""What stands for an item in one takes so many."""
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


@dataclass(frozen=True, slots=True)
class Shown:
    """What was shown already, by hashes."""

    hashes: frozenset[bytes] = frozenset()

    def __contains__(self, item_id: str) -> bool:
        return _hash_at_hand(item_id) in self.hashes

    def __len__(self) -> int:
        return len(self.hashes)

    def cursor_after(self, hashes: Iterable[bytes]) -> str:
        """The cursor that says so once these items, told by their hashes, are shown too."""
        return _cursor(self.hashes.union(hashes))

    def and_these(self, item_ids: Iterable[str]) -> "Shown":
        """What was shown after one page more."""
        return Shown(self.hashes.union(map(hash_of, item_ids)))

    def cursor(self) -> str:
        """The cursor that says so."""
        return _cursor(self.hashes)


def _cursor(hashes: Iterable[bytes]) -> str:
    text = binascii.b2a_base64(FORMAT + b"".join(sorted(hashes)), newline=False)
    return text.translate(_URL_SAFE).rstrip(b"=").decode()


def read_cursor(text: str, most: int) -> Shown:
    """What a cursor says was shown.

    Raises:
        InvalidCursor: it is none of ours, or names more than ``most`` items.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidCursor("expected a cursor as it was given") from exc
    body = data[len(FORMAT) :]
    if data[: len(FORMAT)] != FORMAT or not body or len(body) % HASH_BYTES:
        raise InvalidCursor("expected a cursor as it was given")
    if len(body) > most * HASH_BYTES:
        raise InvalidCursor(f"expected a cursor over at most {most} items")
    return Shown(frozenset(body[start : start + HASH_BYTES] for start in range(0, len(body), HASH_BYTES)))


def hash_of(item_id: str) -> bytes:
    """What stands for an item in cursors."""
    return hashlib.blake2b(item_id.encode(), digest_size=HASH_BYTES).digest()


_hash_at_hand = lru_cache(maxsize=1 << 16)(hash_of)
