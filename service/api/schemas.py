"""What goes in and out over HTTP."""

import base64
import binascii
import math
import re
from array import array
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    StrictBool,
    StrictFloat,
    StrictStr,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from model_store import check_id
from service.api.bounds import FEW_NAMES, MAX_NAMES, RequestPart
from service.domain import Image, Item, Raw, Text, Vector
from service.errors import InvalidItem, NotFinite, json_pointer

_LITTLE_ENDIAN = np.dtype("<f4")

ExternalId = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(check_id)]


class PackedVector(RequestPart):
    """A vector as base64 of its float32 numbers, little-endian."""

    embedding_b64: StrictStr


class RawText(RequestPart):
    """A text, where the model makes features of texts itself."""

    text: Annotated[StrictStr, Field(max_length=100_000)]


class RawImage(RequestPart):
    """A JPEG, PNG or WebP file as base64, where the model makes features of images itself."""

    image_b64: StrictStr


def _form(value: object) -> str | None:
    if isinstance(value, list):
        return "numbers"
    if isinstance(value, RawText) or (isinstance(value, dict) and "text" in value):
        return "raw text"
    if isinstance(value, RawImage) or (isinstance(value, dict) and "image_b64" in value):
        return "raw image"
    return "packed" if isinstance(value, (dict, PackedVector)) else None


Modality = Annotated[
    Annotated[list[StrictFloat], Field(fail_fast=True), Tag("numbers")]
    | Annotated[PackedVector, Tag("packed")]
    | Annotated[RawText, Tag("raw text")]
    | Annotated[RawImage, Tag("raw image")],
    Discriminator(
        _form,
        custom_error_type="vector",
        custom_error_message='expected a list of numbers, {"embedding_b64": ...}, {"text": ...} or {"image_b64": ...}',
    ),
]


_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}")


def rfc3339(value: object) -> object:
    """Lets only text pass that looks like a time.

    Raises:
        ValueError: it is something else.
    """
    # By itself pydantic would also take numbers, as text too, for seconds since 1970.
    if not isinstance(value, str) or not _RFC3339.match(value):
        raise ValueError("expected an RFC 3339 time with zone, such as 2030-01-31T12:00:00Z")
    return value


ModalityName = StrictStr
Title = Annotated[StrictStr, Field(max_length=1000)]
Category = Annotated[StrictStr, Field(min_length=1, max_length=256)]
Categories = Annotated[list[Category], Field(max_length=100)]
AttributeName = Annotated[StrictStr, Field(min_length=1, max_length=256)]
_MOST_CHARACTERS = 4000


def number(value: object) -> int | float:
    """A number as it was sent; a union of types would round integers that are too large, and tell of every type.

    Raises:
        PydanticCustomError: it is none, not finite, or an integer of more than 64 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "expected a number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise PydanticCustomError("number", "expected an integer of 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("number", "expected a finite number")
    return value


def _scalar(value: object) -> str | bool | int | float:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return number(value)
    if not isinstance(value, str):
        raise PydanticCustomError("scalar", "expected a text, a number, true or false")
    if len(value) > _MOST_CHARACTERS:
        raise PydanticCustomError("scalar", "expected at most {most} characters", {"most": _MOST_CHARACTERS})
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise PydanticCustomError("scalar", "expected whole characters, found half of one") from exc
    return value


_NUMBERS = [{"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, {"type": "number"}]
AttributeValue = Annotated[
    str | bool | int | float,
    PlainValidator(_scalar),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": _MOST_CHARACTERS}, {"type": "boolean"}, *_NUMBERS]}),
]
Time = Annotated[AwareDatetime, BeforeValidator(rfc3339)]


class ItemBody(RequestPart):
    """An item with whatever modalities it has."""

    item_id: ExternalId = Field(description="External id, 1-256 characters, no control characters.")
    modalities: Annotated[dict[ModalityName, Modality], FEW_NAMES] = Field(
        default_factory=dict,
        max_length=MAX_NAMES,
        description="Features by modality, or what they are made of; leave out what is lacking.",
    )
    title: Title | None = None
    categories: Categories = Field(default_factory=list)
    attributes: Annotated[dict[AttributeName, AttributeValue], FEW_NAMES] = Field(
        default_factory=dict, max_length=MAX_NAMES
    )
    available: StrictBool = Field(default=True, description="False: kept, but not recommended for now.")
    hidden: StrictBool = Field(default=False, description="True: kept, but not recommended.")
    expires_at: Time | None = Field(
        default=None, description="Not recommended from this moment on; RFC 3339 with zone."
    )

    def to_item(self) -> Item:
        """The item in the service's own terms.

        Raises:
            InvalidItem: a packed vector is no base64 of float32 numbers, or an image no base64.
        """
        vectors: dict[str, Vector] = {}
        raw: dict[str, Raw] = {}
        for name, value in self.modalities.items():
            part = part_of(name, value)
            if isinstance(part, np.ndarray):
                vectors[name] = part
            else:
                raw[name] = part
        return Item(
            self.item_id,
            vectors,
            self.title,
            tuple(self.categories),
            self.attributes,
            available=self.available,
            hidden=self.hidden,
            expires_at=self.expires_at,
            raw=raw,
        )


def part_of(name: str, value: list[float] | PackedVector | RawText | RawImage) -> Vector | Raw:
    """A modality in the service's own terms; numbers that float32 cannot hold are infinite in its vector.

    Raises:
        InvalidItem: it is packed, and no base64 of finite float32 numbers, or no base64 of an image.
    """
    if isinstance(value, list):
        # What float32 cannot hold becomes infinity, which the catalogue refuses; numpy's own conversion would warn.
        return np.asarray(array("f", value))
    if isinstance(value, RawText):
        return Text(value.text)
    if isinstance(value, RawImage):
        return Image(_bytes_of(json_pointer("modalities", name, "image_b64"), value.image_b64))
    pointer = json_pointer("modalities", name, "embedding_b64")
    data = _bytes_of(pointer, value.embedding_b64)
    if len(data) % _LITTLE_ENDIAN.itemsize:
        raise InvalidItem(pointer, f"expected 4 bytes a number, found {len(data)} bytes")
    vector = np.frombuffer(data, dtype=_LITTLE_ENDIAN).astype(np.float32)
    if not np.isfinite(vector).all():
        raise NotFinite(pointer)
    return vector


def _bytes_of(pointer: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidItem(pointer, f"expected base64: {exc}") from exc


def packed(vector: Vector) -> dict[str, str]:
    """A vector as ``PackedVector`` takes it."""
    return {"embedding_b64": base64.b64encode(np.asarray(vector, dtype=_LITTLE_ENDIAN).tobytes()).decode()}


class Encoding(BaseModel):
    """How an item was encoded."""

    present: list[str] = Field(description="Modalities that were used.")
    missing: list[str] = Field(description="Modalities of the model that the item lacks.")
    confidence: float | None = Field(
        description="In [0, 1], lower as modalities go missing; null where the vector was trained, not encoded."
    )
    model_version: str


class ItemWritten(BaseModel):
    """The answer to a written item."""

    item_id: str
    index_seq: int = Field(description="Number of the record; the item is searchable where index_seq is at least this.")
    encoding: Encoding


class ItemOut(BaseModel):
    """An item as it stands."""

    item_id: str
    title: str | None
    categories: list[str]
    attributes: dict[str, Any]
    available: bool
    hidden: bool
    expires_at: str | None
    index_seq: int = Field(description="Number of the item's latest record; 0 where only the model knows it.")
    encoding: Encoding


class ItemListed(ItemOut):
    """An item in a page of the catalogue."""

    modalities: dict[str, PackedVector] | None = Field(
        default=None, description="Its features, as they can be posted; only where they were asked for."
    )


class ItemPage(BaseModel):
    """A page of the catalogue."""

    items: list[ItemListed]
    next_cursor: str | None = Field(
        description="For the next page; null where nothing follows. A page may be short, or empty, before the last."
    )


class Readiness(BaseModel):
    """The service can answer."""

    status: Literal["ready"]
    model_version: str
    degraded: list[str]


class Liveness(BaseModel):
    """The process runs."""

    status: Literal["alive"]
