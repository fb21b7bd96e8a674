"""What goes in and out over HTTP."""

import base64
import binascii
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
)

from model_store import check_id
from service.domain import Item, Vector
from service.errors import InvalidItem, NotFinite, json_pointer

_LITTLE_ENDIAN = np.dtype("<f4")

ExternalId = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(check_id)]


class _In(BaseModel):
    """A part of a request; fields nobody knows are refused."""

    model_config = ConfigDict(extra="forbid")


class PackedVector(_In):
    """A vector as base64 of its float32 numbers, little-endian."""

    embedding_b64: StrictStr


def _form(value: object) -> str | None:
    if isinstance(value, list):
        return "numbers"
    return "packed" if isinstance(value, (dict, PackedVector)) else None


FeatureVector = Annotated[
    Annotated[list[StrictFloat], Tag("numbers")] | Annotated[PackedVector, Tag("packed")],
    Discriminator(
        _form,
        custom_error_type="vector",
        custom_error_message='expected a list of numbers or {"embedding_b64": ...}',
    ),
]


def _rfc3339(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected an RFC 3339 time with zone, such as 2030-01-31T12:00:00Z")  # noqa: TRY004
    return value


class ItemBody(_In):
    """An item with whatever modalities it has."""

    item_id: ExternalId = Field(description="External id, 1-256 characters, no control characters.")
    modalities: dict[StrictStr, FeatureVector] = Field(
        default_factory=dict, description="Raw features by modality; leave out what the item lacks."
    )
    title: Annotated[StrictStr, Field(max_length=1000)] | None = None
    categories: list[Annotated[StrictStr, Field(min_length=1, max_length=256)]] = Field(
        default_factory=list, max_length=100
    )
    attributes: dict[
        Annotated[StrictStr, Field(min_length=1, max_length=256)],
        Annotated[StrictStr, Field(max_length=4000)]
        | StrictBool
        | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
        | Annotated[StrictFloat, Field(allow_inf_nan=False)],
    ] = Field(default_factory=dict, max_length=100)
    available: StrictBool = Field(default=True, description="False: kept, but not recommended for now.")
    hidden: StrictBool = Field(default=False, description="True: kept, but not recommended.")
    expires_at: Annotated[AwareDatetime, BeforeValidator(_rfc3339)] | None = Field(
        default=None, description="Not recommended from this moment on; RFC 3339 with zone."
    )

    def to_item(self) -> Item:
        """The item in the service's own terms.

        Raises:
            InvalidItem: a packed vector is no base64 of float32 numbers.
        """
        return Item(
            self.item_id,
            {name: _vector(name, value) for name, value in self.modalities.items()},
            self.title,
            tuple(self.categories),
            self.attributes,
            available=self.available,
            hidden=self.hidden,
            expires_at=self.expires_at,
        )


def _vector(name: str, value: list[float] | PackedVector) -> Vector:
    if isinstance(value, list):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which the catalogue refuses
            return np.array(value, dtype=np.float64).astype(np.float32)
    pointer = json_pointer("modalities", name, "embedding_b64")
    try:
        data = base64.b64decode(value.embedding_b64, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidItem(pointer, f"expected base64: {exc}") from exc
    if len(data) % _LITTLE_ENDIAN.itemsize:
        raise InvalidItem(pointer, f"expected 4 bytes a number, found {len(data)} bytes")
    vector = np.frombuffer(data, dtype=_LITTLE_ENDIAN).astype(np.float32)
    if not np.isfinite(vector).all():
        raise NotFinite(pointer)
    return vector


class RecommendQuery(_In):
    """The query of a recommendation; parameters nobody knows are refused, so that a misspelt one is noticed."""

    k: int | None = Field(
        default=None, ge=1, description="List length; see the settings for its default and its maximum."
    )
    exclude: list[ExternalId] = Field(default_factory=list, description="An item not to return; repeatable.")
    seen: Literal["exclude", "include"] = Field(default="exclude", description="What to do with items the user knows.")
    strict: bool = Field(default=False, description="404 for a user nobody knows, instead of the popular list.")


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


class RecommendedItem(BaseModel):
    """One place in the list."""

    item_id: str
    score: float
    rank: int = Field(description="From 1.")
    title: str | None


class Recommendations(BaseModel):
    """The list for one user, best first."""

    request_id: str
    user_id: str
    strategy: Literal["personal", "session", "popular"]
    model_version: str
    index_seq: int = Field(description="Highest journal record the list knows of.")
    degraded: list[str] = Field(description="What was not at its best, e.g. cache.")
    items: list[RecommendedItem]


class Readiness(BaseModel):
    """The service can answer."""

    status: Literal["ready"]
    model_version: str
    degraded: list[str]


class Liveness(BaseModel):
    """The process runs."""

    status: Literal["alive"]
