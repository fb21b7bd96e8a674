"""A list that was found once, as it is kept until whoever asked for it asks again."""

from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from service.adapters.changes import Moment
from service.adapters.ranked import NamesOf, Ranked
from service.queries import Hits, Mark, Query

_HEAD = Struct("<qq16s?I")  # rows, changes, vector, whole, how many places
_BETWEEN = "\0"  # ids, which have no such character
_SLOT, _SCORE = 4, 8  # bytes
_ORDINARY = 1024  # bytes of a list


class Remembered(NamedTuple):
    """The best items for a vector, once.

    Attributes:
        rows: how many rows the index had been given, then.
        changes: how many there had been.
        vector: what stands for what was asked.
        exclude: what was left out beside the user's rows.
        slots: of the best, best first, int32.
        scores: theirs, float64.
        whole: whether there are no others.
    """

    rows: int
    changes: int
    vector: bytes
    exclude: frozenset[str]
    slots: bytes
    scores: bytes
    whole: bool

    @classmethod
    def of(cls, query: Query, changes: Moment, ranked: Ranked, *, whole: bool) -> "Remembered":
        """What was found for a query at a moment."""
        exclude = frozenset(query.exclude)
        return cls(changes.rows, changes.total, _digest(query), exclude, *_as_bytes(ranked), whole)

    def brought_to(self, changes: Moment, ranked: Ranked, *, whole: bool) -> "Remembered":
        """The answer to the same question at another moment."""
        return Remembered(changes.rows, changes.total, self.vector, self.exclude, *_as_bytes(ranked), whole)

    @classmethod
    def unpacked(cls, data: bytes) -> "Remembered":
        """What ``packed`` has packed."""
        rows, changes, vector, whole, n = _HEAD.unpack_from(data)
        scores = _HEAD.size + n * _SLOT
        exclude = scores + n * _SCORE
        ids = frozenset(data[exclude:].decode().split(_BETWEEN)) if len(data) > exclude else frozenset[str]()
        return cls(rows, changes, vector, ids, data[_HEAD.size : scores], data[scores:exclude], whole)

    def packed(self) -> bytes:
        """As small as can be, since there are many; and nothing that a collection of garbage would look through."""
        head = _HEAD.pack(self.rows, self.changes, self.vector, self.whole, self.places)
        return b"".join((head, self.slots, self.scores, _BETWEEN.join(self.exclude).encode()))

    @property
    def places(self) -> int:
        """How many there are."""
        return len(self.slots) // _SLOT

    @property
    def least(self) -> float:
        """The score of the last one, which no other item exceeds; infinite where there is none."""
        return float(np.frombuffer(self.scores, dtype=np.float64)[-1]) if self.scores else np.inf

    @property
    def ranked(self) -> Ranked:
        """What was found."""
        return Ranked(np.frombuffer(self.slots, dtype=np.int32), np.frombuffer(self.scores, dtype=np.float64))

    def answers(self, query: Query, changes: Moment, most: int) -> bool:
        """Whether it was found for this question, and at most so many changes ago that are all at hand."""
        return (
            changes.total - self.changes <= most
            and self.rows >= changes.first
            and self.exclude.issubset(query.exclude)
            and self.vector == _digest(query)
        )

    def hits(self, k: int, names: NamesOf) -> Hits | None:
        """The best; None where it is not known whether there are others as good."""
        scores: Any = memoryview(self.scores).cast("d")
        # Of scores that equal the last one kept it cannot be told what else has them.
        if not self.whole and (len(scores) < k or not scores[k - 1] > scores[-1]):
            return None
        found_at = Mark(self.rows, self.changes)
        return Hits(memoryview(self.slots).cast("i")[:k].tolist(), scores[:k].tolist(), names, found_at)


def _as_bytes(ranked: Ranked) -> tuple[bytes, bytes]:
    return ranked.slots.astype(np.int32, copy=False).tobytes(), ranked.scores.tobytes()


def _digest(query: Query) -> bytes:
    return blake2b(query.vector.tobytes(), digest_size=16).digest()


def weight(data: bytes) -> int:
    """How many ordinary lists a packed one is as large as."""
    return 1 + len(data) // _ORDINARY
