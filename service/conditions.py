"""What a caller expects of an item before it is written."""

from dataclasses import dataclass
from typing import Literal

from service.domain import CatalogItem
from service.errors import PreconditionFailed

Tags = frozenset[str] | Literal["any"]


def tag_of(seq: int, model_version: str) -> str:
    """What tells states of an item apart: its latest record, or the model where only that knows it."""
    return str(seq) if seq else f"0-{model_version}"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a caller expects of an item, by its tag (``tag_of``) or the bare number of its latest record.

    Attributes:
        among: the item is there, at one of these; None = nothing is expected.
        not_among: the item is not there at one of these, with "any" not at all; None = nothing is expected.
    """

    among: Tags | None = None
    not_among: Tags | None = None

    def holds(self, found: CatalogItem | None) -> bool:
        """Whether an item is as expected; None = there is no such item."""

        def is_in(tags: Tags) -> bool:
            if found is None or tags == "any":
                return found is not None
            return not tags.isdisjoint({str(found.seq), tag_of(found.seq, found.report.model_version)})

        return (self.among is None or is_in(self.among)) and (self.not_among is None or not is_in(self.not_among))

    def check(self, item_id: str, found: CatalogItem | None) -> None:
        """Checks an item.

        Raises:
            PreconditionFailed: it is not as expected.
        """
        if not self.holds(found):
            raise PreconditionFailed(item_id, found.seq if found else None)


ALWAYS = Condition()
