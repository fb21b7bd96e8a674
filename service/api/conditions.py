"""Conditions on attributes, as they stand in queries and in bodies."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi.exceptions import RequestValidationError
from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator

from service.api.bounds import MAX_ENTRIES, RequestPart
from service.api.schemas import AttributeValue, number
from service.facets import AttributeIs, key_of


def _bound(value: object) -> int | float:
    """Any number: beyond 64 bits it is still a bound."""
    return value if isinstance(value, int) and not isinstance(value, bool) else number(value)


_Bound = Annotated[int | float, PlainValidator(_bound), WithJsonSchema({"type": "number"})]


class Range(RequestPart):
    """Bounds on a number."""

    gte: _Bound | None = Field(default=None, description="At least.")
    gt: _Bound | None = Field(default=None, description="Greater than.")
    lte: _Bound | None = Field(default=None, description="At most.")
    lt: _Bound | None = Field(default=None, description="Less than.")

    @model_validator(mode="after")
    def _bounded(self) -> "Range":
        if all(bound is None for bound in (self.gte, self.gt, self.lte, self.lt)):
            raise ValueError("expected at least one of gte, gt, lte, lt")
        return self


def _form(value: object) -> str | None:
    if isinstance(value, dict | Range):
        return "bounds"
    if isinstance(value, list):
        return "values"
    return None if value is None else "one value"


Condition = Annotated[
    Annotated[Range, Tag("bounds")]
    | Annotated[list[AttributeValue], Field(max_length=MAX_ENTRIES, fail_fast=True), Tag("values")]
    | Annotated[AttributeValue, Tag("one value")],
    Discriminator(
        _form,
        custom_error_type="condition",
        custom_error_message="expected a value, a list of values, or bounds (gte, gt, lte, lt)",
    ),
]


def from_body(conditions: Mapping[str, Condition]) -> tuple[AttributeIs, ...]:
    """The conditions of a body: by attribute a value, a list of values of which it must be one, or bounds."""
    return tuple(_condition(name, wanted) for name, wanted in conditions.items())


def _condition(name: str, wanted: Condition) -> AttributeIs:
    if isinstance(wanted, Range):
        return AttributeIs(name, least=wanted.gte, above=wanted.gt, most=wanted.lte, below=wanted.lt)
    values = wanted if isinstance(wanted, list) else [wanted]
    return AttributeIs(name, frozenset(map(key_of, values)))


def from_query(texts: Sequence[str]) -> tuple[AttributeIs, ...]:
    """The conditions of a query, each ``NAME:VALUE``; those on the same attribute are alternatives.

    Raises:
        RequestValidationError: one has no colon, or nothing before it.
    """
    wanted: dict[str, list[str]] = {}
    for place, text in enumerate(texts):
        name, colon, value = text.partition(":")
        if not name or not colon:
            message = "expected NAME:VALUE"
            raise RequestValidationError([{"type": "attribute", "loc": ("query", "attribute", place), "msg": message}])
        wanted.setdefault(name, []).append(value)
    return tuple(AttributeIs(name, frozenset(map(key_of, values))) for name, values in wanted.items())
