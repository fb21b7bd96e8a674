"""Client of the I³Rec recommender service."""

from i3rec_client.answers import Models, Promotion, Readiness, Taken
from i3rec_client.async_client import AsyncClient
from i3rec_client.bodies import Event, Item, ItemLike, ListOptions, UserOptions
from i3rec_client.client import Client
from i3rec_client.errors import (
    ApiError,
    Conflict,
    I3RecError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
    TransportError,
    Unavailable,
    UnexpectedAnswer,
)
from i3rec_client.item_answers import BatchAnswer, CatalogItem, Encoding, Result, Written
from i3rec_client.lists import ItemList, Liked, Place, Reasons
from i3rec_client.problems import Fault, Problem
from i3rec_client.retries import Retry

__all__ = [
    "ApiError",
    "AsyncClient",
    "BatchAnswer",
    "CatalogItem",
    "Client",
    "Conflict",
    "Encoding",
    "Event",
    "Fault",
    "I3RecError",
    "InvalidRequest",
    "Item",
    "ItemLike",
    "ItemList",
    "Liked",
    "ListOptions",
    "Models",
    "NotAllowed",
    "NotFound",
    "Place",
    "PreconditionFailed",
    "Problem",
    "Promotion",
    "Readiness",
    "Reasons",
    "Result",
    "Retry",
    "Taken",
    "TooManyRequests",
    "TransportError",
    "Unavailable",
    "UnexpectedAnswer",
    "UserOptions",
    "Written",
]
