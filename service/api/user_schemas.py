"""Bodies and answers of the routes about users and model versions."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Discriminator, Field, StrictStr, Tag

from service.api.bounds import MAX_ENTRIES, RequestPart
from service.api.schemas import ExternalId, rfc3339
from service.domain import Interact


class InteractionBody(RequestPart):
    """A user took to an item."""

    user_id: ExternalId
    item_id: ExternalId
    kind: Annotated[StrictStr, Field(min_length=1, max_length=64)] = Field(
        default="interaction", description="What the user did, such as click or purchase. All kinds count alike."
    )
    at: Annotated[AwareDatetime, BeforeValidator(rfc3339)] | None = Field(
        default=None, description="When; RFC 3339 with zone. Left out = now."
    )
    event_id: ExternalId | None = Field(
        default=None, description="Your name for this event, unique for all time: the same one again changes nothing."
    )

    def to_interaction(self) -> Interact:
        """The interaction in the service's own terms."""
        return Interact(self.user_id, self.item_id, self.kind, self.at, self.event_id)


def _form(value: object) -> str | None:
    if isinstance(value, list):
        return "list[InteractionBody]"
    return "InteractionBody" if isinstance(value, (dict, InteractionBody)) else None


Interactions = Annotated[
    Annotated[InteractionBody, Tag("InteractionBody")]
    | Annotated[list[InteractionBody], Field(max_length=MAX_ENTRIES, fail_fast=True), Tag("list[InteractionBody]")],
    Discriminator(
        _form, custom_error_type="interactions", custom_error_message="expected an interaction or a list of them"
    ),
]


class InteractionsTaken(BaseModel):
    """The answer to interactions."""

    accepted: int = Field(description="How many were written.")
    repeated: int = Field(description="How many were known already by their event id.")
    seq: int = Field(description="Number of the latest of their records; 0 where there were none.")


class FailedModel(BaseModel):
    """A version that was promoted and cannot serve."""

    version: str | None = Field(description="Null where the model store cannot say which one is promoted.")
    reason: str


class ModelOnTrial(BaseModel):
    """A version that is tried beside the one that serves."""

    version: str
    share: float = Field(description="Of the users (split), or of the requests (shadow).")
    mode: Literal["split", "shadow"] = Field(description="Whether it serves these users, or is only compared.")
    live: bool = Field(description="Whether it is on trial here already.")


class Models(BaseModel):
    """Which model versions there are."""

    versions: list[str] = Field(description="All published ones, oldest first.")
    promoted: str | None = Field(description="The one that is to serve.")
    serving: str | None = Field(description="The one that serves here.")
    challenger: ModelOnTrial | None = Field(description="The one that is tried beside it.")
    failed: FailedModel | None = Field(description="The promoted one where it cannot serve here; it is tried again.")
    trial_failed: FailedModel | None = Field(description="The challenger where it cannot be tried here.")


class Promoted(BaseModel):
    """A version was promoted."""

    promoted: str
    before: str | None = Field(description="The version that was promoted until then.")
    serving: str | None = Field(description="The one that serves here now; the promoted one follows once it is built.")
