"""What a caller expects of an item before it is written."""

from dataclasses import dataclass
from typing import Literal

from service.domain import CatalogItem
from service.errors import PreconditionFailed

Seqs = frozenset[int] | Literal["any"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a caller expects of an item, by the ``seq`` of its latest record (0 where only the model knows it).

    Attributes:
        among: the item is there, at one of these; None = nothing is expected.
        not_among: the item is not there at one of these, with "any" not at all; None = nothing is expected.
    """

    among: Seqs | None = None
    not_among: Seqs | None = None

    def holds(self, seq: int | None) -> bool:
        """Whether an item at ``seq`` is as expected; None = there is no such item."""

        def is_in(seqs: Seqs) -> bool:
            return seq is not None and (seqs == "any" or seq in seqs)

        return (self.among is None or is_in(self.among)) and (self.not_among is None or not is_in(self.not_among))

    def check(self, item_id: str, found: CatalogItem | None) -> None:
        """Checks an item.

        Raises:
            PreconditionFailed: it is not as expected.
        """
        seq = found.seq if found else None
        if not self.holds(seq):
            raise PreconditionFailed(item_id, seq)


ALWAYS = Condition()
