"""What goes out: items, events, and what a list is to be like."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypedDict

from i3rec_client.vectors import Vector, vector_content


@dataclass(frozen=True, slots=True)
class Item:
    """An item with whatever modalities it has.

    Attributes:
        modalities: name → features (d_m,): a list, or an array of any number type, which is sent as float32.
        expires_at: with time zone; not recommended from this moment on.
    """

    item_id: str
    modalities: Mapping[str, Vector] = field(default_factory=dict)
    title: str | None = None
    categories: Sequence[str] = ()
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    available: bool = True
    hidden: bool = False
    expires_at: datetime | None = None


ItemLike = Item | Mapping[str, Any]
"""An item, or the JSON object of one, whose modalities may be arrays as well."""


@dataclass(frozen=True, slots=True)
class Event:
    """A user took to an item.

    Attributes:
        at: with time zone; None = now, by the service's clock.
        event_id: unique for all time; the same one again changes nothing.
    """

    user_id: str
    item_id: str
    kind: str = "interaction"
    at: datetime | None = None
    event_id: str | None = None


class ListOptions(TypedDict, total=False):
    """What a list is to be like; what is left out, or None, is as the service's documents say."""

    k: int | None
    category: str | Sequence[str] | None
    exclude: str | Sequence[str] | None
    seen: Literal["exclude", "include"] | None
    min_score: float | None
    diversity: float | None
    max_per_category: int | None
    explain: bool | None
    cursor: str | None


class UserOptions(ListOptions, total=False):
    """The same for users; with ``strict`` one whom nobody knows is NotFound instead of getting the popular list."""

    strict: bool | None


def item_content(item: ItemLike) -> dict[str, Any]:
    """An item as a JSON object.

    Raises:
        TypeError: a modality is no vector of numbers.
        ValueError: a modality has more than one dimension.
    """
    if isinstance(item, Mapping):
        return patch_content(item)
    content: dict[str, Any] = {"item_id": item.item_id, "modalities": dict(item.modalities)}
    content |= {"title": item.title, "categories": list(item.categories), "attributes": dict(item.attributes)}
    content |= {"available": item.available, "hidden": item.hidden, "expires_at": item.expires_at}
    return patch_content(content)


def patch_content(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Some fields of an item as a JSON object; modalities that are None stay so.

    Raises:
        TypeError: a modality is no vector of numbers.
        ValueError: a modality has more than one dimension.
    """
    content = dict(fields)
    if isinstance(modalities := content.get("modalities"), Mapping):
        content["modalities"] = {name: _modality(value) for name, value in modalities.items()}
    return content


def _modality(value: Any) -> Any:
    return value if value is None or isinstance(value, Mapping) else vector_content(value)


def event_contents(events: Iterable[Event], *, make_ids: bool) -> list[dict[str, Any]]:
    """Events as JSON objects; with ``make_ids`` those without an id are given one."""
    named = [
        replace(event, event_id=str(uuid.uuid4())) if make_ids and not event.event_id else event for event in events
    ]
    return [
        {
            "user_id": event.user_id,
            "item_id": event.item_id,
            "kind": event.kind,
            "at": event.at,
            "event_id": event.event_id,
        }
        for event in named
    ]


def option_contents(options: UserOptions | ListOptions) -> dict[str, Any]:
    """Options as a JSON object, without those that are None; one name alone becomes a list."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: _listed(value) if name in {"category", "exclude"} else value for name, value in given.items()}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def query_of(options: UserOptions | ListOptions) -> list[tuple[str, str]]:
    """Options as a query."""
    return [
        (name, json.dumps(value) if isinstance(value, (bool, int, float)) else str(value))
        for name, values in option_contents(options).items()
        for value in (values if isinstance(values, list) else [values])
    ]


def encoded(content: object) -> bytes:
    """A JSON body.

    Raises:
        TypeError: there is something in it that JSON has no word for.
    """
    return json.dumps(content, default=_time, separators=(",", ":")).encode("ascii")


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"expected what JSON can hold, found {type(value).__name__}")
