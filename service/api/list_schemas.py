"""Bodies, queries and answers of the routes that give lists."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt

from service.api.bounds import FEW_NAMES, MAX_ENTRIES, MAX_NAMES, RequestPart
from service.api.conditions import Condition, from_body, from_query
from service.api.schemas import AttributeName, Category, ExternalId
from service.facets import AttributeIs


class ListOptions(RequestPart):
    """What a list is to be like. As a query, every parameter nobody knows is refused, so that a misspelt one shows."""

    k: int | None = Field(
        default=None, ge=1, description="List length; see the settings for its default and its maximum."
    )
    exclude: list[ExternalId] = Field(
        default_factory=list, max_length=MAX_ENTRIES, description="An item not to return; repeatable."
    )
    category: list[Category] = Field(
        default_factory=list,
        max_length=MAX_ENTRIES,
        description="Only items of one of these categories; repeatable.",
    )
    seen: Literal["exclude", "include"] = Field(default="exclude", description="What to do with items the user knows.")
    min_score: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="Leave out items that score less."
    )
    diversity: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="How much unlikeness of the items counts beside their scores, 0 to 1."
    )
    max_per_category: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Most items of one category in a list."
    )
    explain: bool = Field(default=False, description="Say of each item why it is there.")
    cursor: Annotated[str, Field(max_length=20_000, pattern="^[A-Za-z0-9_-]*$")] | None = Field(
        default=None, description="The next_cursor of the page before: no item of earlier pages comes again."
    )
    model: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="The model version that must answer; 409 where another one serves."
    )

    def conditions(self) -> tuple[AttributeIs, ...]:
        """The conditions on attributes."""
        return ()


class _InQuery(ListOptions):
    """What a list is to be like, as a query."""

    attribute: list[Annotated[str, Field(min_length=1, max_length=512)]] = Field(
        default_factory=list,
        max_length=32,
        description="Only items with this attribute, as NAME:VALUE; repeatable: of one name any of the values, of "
        "several names all. Numbers compare by value. Ranges, and what is longer, can be asked for by POST.",
    )

    def conditions(self) -> tuple[AttributeIs, ...]:
        """The conditions on attributes.

        Raises:
            RequestValidationError: one is not ``NAME:VALUE``.
        """
        return from_query(self.attribute)


class RecommendQuery(_InQuery):
    """The query of a recommendation."""

    strict: bool = Field(default=False, description="404 for a user nobody knows, instead of the popular list.")


class SimilarQuery(_InQuery):
    """The query of similar items."""


class _InBody(ListOptions):
    """The same in a body, where numbers are numbers."""

    k: Annotated[StrictInt, Field(ge=1)] | None = Field(default=None, description="List length.")
    min_score: Annotated[StrictFloat, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="Leave out items that score less."
    )
    diversity: Annotated[StrictFloat, Field(ge=0, le=1)] = Field(
        default=0.0, description="How much unlikeness of the items counts beside their scores, 0 to 1."
    )
    max_per_category: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="Most items of one category in a list."
    )
    explain: StrictBool = Field(default=False, description="Say of each item why it is there.")
    attributes: Annotated[dict[AttributeName, Condition], FEW_NAMES] = Field(
        default_factory=dict,
        max_length=MAX_NAMES,
        description="Only items whose attributes are so: by name a value, a list of values of which it is one, or "
        "bounds (gte, gt, lte, lt) on a number. All must hold.",
    )

    def conditions(self) -> tuple[AttributeIs, ...]:
        """The conditions on attributes."""
        return from_body(self.attributes)


class SessionBody(_InBody):
    """A session."""

    history: list[ExternalId] = Field(
        max_length=MAX_ENTRIES, description="What was done in it, oldest first; an item may come repeatedly."
    )


class BatchBody(_InBody):
    """Several users at once."""

    users: list[ExternalId] = Field(min_length=1, max_length=MAX_ENTRIES, description="Whom to recommend to.")
    strict: StrictBool = Field(default=False, description="404 where nobody knows one of the users.")


class Liked(BaseModel):
    """An item of the history that speaks for a place in the list."""

    item_id: str
    title: str | None
    contribution: float = Field(description="What it gives to the score; all of the history adds up to it.")


class Reasons(BaseModel):
    """Why an item is there."""

    liked: list[Liked] = Field(description="Items of the history that give most to the score, the most first.")
    modalities: dict[str, float] | None = Field(
        description="By how much the score falls without each modality; null where it stands by clicks, not by content."
    )


class RecommendedItem(BaseModel):
    """One place in the list."""

    item_id: str
    score: float
    rank: int = Field(description="From 1.")
    title: str | None
    reasons: Reasons | None = Field(default=None, description="Only with explain, and in lists from a history.")


class ItemList(BaseModel):
    """A list, best first."""

    user_id: str | None = Field(description="Null for a session.")
    strategy: Literal["personal", "session", "popular"]
    model_version: str
    index_seq: int = Field(description="Highest record of an item that the list knows of.")
    degraded: list[str] = Field(
        description="What was not at its best: cache, index (the search engine), or history (the user's interactions)."
    )
    items: list[RecommendedItem]
    next_cursor: str | None = Field(description="For the next page; null where there is none.")


class Recommendations(ItemList):
    """The answer to one request."""

    request_id: str


class BatchRecommendations(BaseModel):
    """The answers for several users, in the order of the request."""

    request_id: str
    results: list[ItemList]
