"""Bodies and answers of the routes that change items in part, or many at once."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, StrictBool

from service.api.bounds import FEW_NAMES, MAX_NAMES, RequestPart
from service.api.problems import ProblemError
from service.api.schemas import (
    AttributeName,
    AttributeValue,
    Categories,
    Encoding,
    Modality,
    ModalityName,
    Time,
    Title,
    part_of,
)
from service.domain import Image, Item, Raw, Text, Vector
from service.errors import InvalidItem

V = TypeVar("V")

_LEFT_OUT: Mapping[str, Any] = {  # what a field is where a POST leaves it out
    "title": None,
    "categories": (),
    "attributes": {},
    "available": True,
    "hidden": False,
    "expires_at": None,
}


class ItemPatch(RequestPart):
    """A JSON merge patch (RFC 7396) of an item: what is left out stays, null puts back what a POST without it gives."""

    modalities: Annotated[dict[ModalityName, Modality | None] | None, FEW_NAMES] = Field(
        default=None, description="Merged by name; null removes a modality.", max_length=MAX_NAMES
    )
    title: Title | None = None
    categories: Categories | None = Field(default=None, description="Replaced as a whole.")
    attributes: Annotated[dict[AttributeName, AttributeValue | None] | None, FEW_NAMES] = Field(
        default=None, description="Merged by name; null removes an attribute.", max_length=MAX_NAMES
    )
    available: StrictBool | None = None
    hidden: StrictBool | None = None
    expires_at: Time | None = None

    def to_change(self) -> Callable[[Item], Item]:
        """What makes of an item the patched one; an empty patch returns the item itself.

        Raises:
            InvalidItem: a packed vector is no base64 of float32 numbers; the change, where the item would have too
                many attributes.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if self.modalities:
            given["modalities"] = {
                name: None if value is None else part_of(name, value) for name, value in self.modalities.items()
            }

        def change(item: Item) -> Item:
            if not given:
                return item
            changed = item._replace(
                **{name: _patched(name, item, value) for name, value in given.items() if name != "modalities"}
            )
            if "modalities" in given:
                changed = _with_parts(changed, given["modalities"])
            if len(changed.attributes) > MAX_NAMES:
                found = len(changed.attributes)
                raise InvalidItem("/attributes", f"expected at most {MAX_NAMES} together, found {found}")
            return changed

        return change


def _patched(name: str, item: Item, value: Any) -> Any:
    if value is None:
        return _LEFT_OUT[name]
    if name == "attributes":
        return _merged(item.attributes, value)
    return tuple(value) if name == "categories" else value


def _with_parts(item: Item, parts: Mapping[str, Vector | Raw | None] | None) -> Item:
    """The item with other modalities: those that are named replaced or, with None, removed; None removes them all."""
    if parts is None:
        return item._replace(modalities={}, made_by={})
    vectors = {name: None if isinstance(part, Text | Image) else part for name, part in parts.items()}
    return item._replace(
        modalities=_merged(item.modalities, vectors),
        raw={name: part for name, part in parts.items() if isinstance(part, Text | Image)},
        made_by={name: made_by for name, made_by in item.made_by.items() if name not in parts},
    )


def _merged(old: Mapping[str, V], patch: Mapping[str, V | None]) -> dict[str, V]:
    return {name: value for name, value in {**old, **patch}.items() if value is not None}


class PartProblem(BaseModel):
    """Why one item was not written; as a problem document, without an instance."""

    type: str = Field(description="Stable name of the kind of problem.")
    title: str = Field(description="The kind of problem in words.")
    status: int
    detail: str = Field(description="What happened this time.")
    errors: list[ProblemError] = Field(default_factory=list, description="Each thing that is wrong with the item.")


class BatchResult(BaseModel):
    """What became of one item."""

    item_id: str | None = Field(description="As it was sent; null where there is no telling.")
    status: int = Field(description="What a POST of this item alone would have answered: 201 created, 200 replaced, …")
    index_seq: int | None = Field(default=None, description="Number of the record; left out where none was written.")
    encoding: Encoding | None = Field(default=None, description="Left out where nothing was written.")
    error: PartProblem | None = Field(default=None, description="Left out where the item was written.")


class BatchAnswer(BaseModel):
    """What became of many items, in their order."""

    results: list[BatchResult]
    written: int
    failed: int


class LineResult(BatchResult):
    """What became of one line; after the last, a line holds only the two sums ``written`` and ``failed``."""

    line: int = Field(description="From 1; empty lines count, and have no result.")
