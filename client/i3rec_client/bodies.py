"""What goes out: items and events."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from i3rec_client.raw import Image, Text
from i3rec_client.vectors import Vector, vector_content

Modality = Vector | Text | Image


@dataclass(frozen=True, slots=True)
class Item:
    """An item with whatever modalities it has.

    Attributes:
        modalities: name → features (d_m,): a list, or an array of any number type, which is sent as float32; or the
            Text or Image that they are to be made of, where the model does that.
        expires_at: with time zone; not recommended from this moment on.
    """

    item_id: str
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    title: str | None = None
    categories: Sequence[str] = ()
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    available: bool = True
    hidden: bool = False
    expires_at: datetime | None = None


ItemLike = Item | Mapping[str, Any]
"""An item, or the JSON object of one, whose modalities may be arrays, texts and images as well."""


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


def item_content(item: ItemLike) -> dict[str, Any]:
    """An item as a JSON object.

    Raises:
        TypeError: a modality is neither a vector of numbers nor a text or an image.
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
        TypeError: a modality is neither a vector of numbers nor a text or an image.
        ValueError: a modality has more than one dimension.
    """
    content = dict(fields)
    if isinstance(modalities := content.get("modalities"), Mapping):
        content["modalities"] = {name: _modality(value) for name, value in modalities.items()}
    return content


def _modality(value: Any) -> Any:
    if isinstance(value, (Text, Image)):
        return value.content()
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
