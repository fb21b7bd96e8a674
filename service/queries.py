"""What is asked of an index, and what it finds."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from service.domain import Vector


class Query(NamedTuple):
    """What is asked of an index.

    Attributes:
        vector: (d,) float32.
        k: how many items; fewer are found only where fewer may be returned.
        exclude: ids that must not be returned; unknown ones are ignored.
        allow: where given, only these ids may be returned, and ``allow_rows``.
        exclude_rows: places, among the items the index was made of, of items that must not be returned either.
        key: who asks; the same always with the same ``exclude_rows``. What was found for them may be remembered.
        allow_rows: where given, only these items may be returned, and ``allow``: places like those of ``exclude_rows``,
            many of which cost far less than as many ids.
    """

    vector: Vector
    k: int
    exclude: Collection[str] = ()
    allow: Collection[str] | None = None
    exclude_rows: NDArray[np.integer[Any]] | None = None
    key: str | None = None
    allow_rows: NDArray[np.integer[Any]] | None = None

    @property
    def restricted(self) -> bool:
        """Whether not all items may be returned that are not excluded."""
        return self.allow is not None or self.allow_rows is not None


class Mark(NamedTuple):
    """How much an index had been given by a moment.

    Attributes:
        rows: that were written.
        changes: items that were written or removed, one after the other.
    """

    rows: int
    changes: int


class Hit(NamedTuple):
    """One result of an index search."""

    item_id: str
    score: float


class Hits(Sequence[Hit]):
    """The results of a search, best first, as numbers: most who ask for a list never ask for ids.

    Args:
        slots: the numbers that the index tells the items by, each for good; those of the items it was made of are their
            places among these.
        scores: theirs.
        names: gives the ids of slots.
        found_at: when; None where the index cannot tell what came since.
    """

    __slots__ = ("_ids", "_names", "found_at", "scores", "slots")

    def __init__(
        self,
        slots: list[int],
        scores: list[float],
        names: Callable[[Sequence[int]], list[str]],
        found_at: Mark | None = None,
    ) -> None:
        self.slots = slots
        self.scores = scores
        self.found_at = found_at
        self._names = names
        self._ids: list[str] | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of the items."""
        if self._ids is None:
            self._ids = self._names(self.slots)
        return self._ids

    def ids_of(self, slots: Sequence[int]) -> list[str]:
        """The ids of some of the items."""
        return self._names(slots)

    def __len__(self) -> int:
        return len(self.slots)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> "Hits": ...

    def __getitem__(self, place: int | slice) -> "Hit | Hits":
        if isinstance(place, slice):
            return Hits(self.slots[place], self.scores[place], self._names)
        return Hit(self.ids[place], self.scores[place])

    def __iter__(self) -> Iterator[Hit]:
        return map(Hit, self.ids, self.scores)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Hits) and other._names == self._names:  # of the same index, as a rule
            return self.slots == other.slots and self.scores == other.scores
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return f"Hits({list(self)})"


@dataclass(frozen=True, slots=True)
class IndexState:
    """What an index is made of at one moment, in rows.

    Attributes:
        main: of the main segment, those that are gone included.
        main_gone: of these, replaced or removed since.
        delta: that came after the main segment, those that are gone included.
        delta_gone: of these, replaced or removed since.
        remembered: lists, not rows, that are kept for those who ask again.
    """

    main: int
    main_gone: int = 0
    delta: int = 0
    delta_gone: int = 0
    remembered: int = 0
