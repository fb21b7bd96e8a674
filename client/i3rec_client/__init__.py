"""Client of the I³Rec recommender service."""

from i3rec_client.answers import Models, Promotion, Readiness, Taken
from i3rec_client.async_client import AsyncClient
from i3rec_client.bodies import Event, Item, ItemLike
from i3rec_client.client import Client
from i3rec_client.errors import (
    ApiError,
    Conflict,
    I3RecError,
    InvalidRequest,
    ModelNotServing,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
    TransportError,
    Unavailable,
    UnexpectedAnswer,
)
from i3rec_client.item_answers import BatchAnswer, CatalogItem, Encoding, ItemPage, Result, Written
from i3rec_client.lists import ItemList, Liked, Place, Reasons
from i3rec_client.options import ListOptions, Range, UserOptions
from i3rec_client.problems import Fault, Problem
from i3rec_client.raw import Image, Text
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
    "Image",
    "InvalidRequest",
    "Item",
    "ItemLike",
    "ItemList",
    "ItemPage",
    "Liked",
    "ListOptions",
    "ModelNotServing",
    "Models",
    "NotAllowed",
    "NotFound",
    "Place",
    "PreconditionFailed",
    "Problem",
    "Promotion",
    "Range",
    "Readiness",
    "Reasons",
    "Result",
    "Retry",
    "Taken",
    "Text",
    "TooManyRequests",
    "TransportError",
    "Unavailable",
    "UnexpectedAnswer",
    "UserOptions",
    "Written",
]
