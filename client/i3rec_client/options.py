"""What a list is to be like, in a body and as a query."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal, TypedDict
from urllib.parse import urlencode

AttributeValue = str | int | float | bool

_MOST_CONDITIONS, _LONGEST_CONDITION = 32, 512  # in a query; a body may have more and longer ones
_LONGEST_QUERY = 8192  # what servers and proxies between take as a rule


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds on an attribute that is a number: at least, greater than, at most, less than.

    Raises:
        ValueError: there is none.
    """

    gte: float | None = None
    gt: float | None = None
    lte: float | None = None
    lt: float | None = None

    def __post_init__(self) -> None:
        if not self.content():
            raise ValueError("expected at least one of gte, gt, lte, lt")

    def content(self) -> dict[str, float]:
        """The bounds that there are."""
        return {name: bound for name, bound in asdict(self).items() if bound is not None}


Condition = AttributeValue | Collection[AttributeValue] | Range
"""On one attribute: the value that it must have, some of which it must have one, or bounds."""


class ListOptions(TypedDict, total=False):
    """What a list is to be like; what is left out, or None, is as the service's documents say.

    The ``attributes`` (name → condition) must all hold; numbers compare by value. ``model`` is the version that is to
    answer.
    """

    k: int | None
    category: str | Sequence[str] | None
    exclude: str | Sequence[str] | None
    attributes: Mapping[str, Condition] | None
    seen: Literal["exclude", "include"] | None
    min_score: float | None
    diversity: float | None
    max_per_category: int | None
    explain: bool | None
    cursor: str | None
    model: str | None


class UserOptions(ListOptions, total=False):
    """The same for users; with ``strict`` one whom nobody knows is NotFound instead of getting the popular list."""

    strict: bool | None


def option_contents(options: UserOptions | ListOptions) -> dict[str, Any]:
    """Options as a JSON object, without those that are None; one name alone becomes a list.

    Raises:
        TypeError: a condition on an attribute is none.
    """
    contents = {name: _listed(name, value) for name, value in options.items() if value is not None}
    if "attributes" in contents:
        contents["attributes"] = {name: _condition(name, wanted) for name, wanted in contents["attributes"].items()}
    return contents


def query_of(options: UserOptions | ListOptions) -> list[tuple[str, str]] | None:
    """Options as a query; None where it takes a body to say them, be it that they are too many or too long.

    Raises:
        TypeError: a condition on an attribute is none.
    """
    contents = option_contents(options)
    conditions = contents.pop("attributes", {})
    if not all(_fits(name, wanted) for name, wanted in conditions.items()):
        return None
    pairs = [(name, _text(value)) for name, values in contents.items() for value in _each(values)]
    wanted = [f"{name}:{_text(value)}" for name, values in conditions.items() for value in _each(values)]
    if len(wanted) > _MOST_CONDITIONS or any(len(each) > _LONGEST_CONDITION for each in wanted):
        return None
    pairs += [("attribute", each) for each in wanted]
    return pairs if len(urlencode(pairs)) <= _LONGEST_QUERY else None


def _listed(name: str, value: Any) -> Any:
    if name in {"category", "exclude"}:
        return [value] if isinstance(value, str) else list(value)
    return value


def _condition(name: str, wanted: object) -> AttributeValue | list[AttributeValue] | dict[str, float]:
    if isinstance(wanted, Range):
        return wanted.content()
    if isinstance(wanted, (str, bool, int, float)):
        return wanted
    if isinstance(wanted, Mapping) or not isinstance(wanted, Collection):
        raise TypeError(f"expected a value, values or a Range for {name!r}, found {type(wanted).__name__}")
    values = list(wanted)
    if strange := [value for value in values if not isinstance(value, (str, bool, int, float))]:
        raise TypeError(f"expected texts, numbers or truth values for {name!r}, found {type(strange[0]).__name__}")
    return values


def _fits(name: str, wanted: object) -> bool:
    """Whether ``NAME:VALUE`` can say it: no bounds, no name with a colon, and not that no value is right."""
    if isinstance(wanted, dict) or wanted == [] or ":" in name or not name:
        return False
    return all(not isinstance(value, float) or math.isfinite(value) for value in _each(wanted))


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        # Without an exponent, and with a point: so it reads as this very number, where numbers compare by value.
        digits = format(Decimal(repr(float(value))), "f")
        return digits if "." in digits else f"{digits}.0"
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)
