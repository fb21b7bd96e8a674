"""What the routes are given: made by ``service.app`` in the lifespan, found in each request's state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import orjson
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.bulk import Bulk
from service.catalog import Catalog
from service.fast_path import FastPath
from service.feedback import Feedback
from service.following import JournalFollower
from service.handle import ServableHandle
from service.inventory import Inventory
from service.metrics import Metrics
from service.models import Models
from service.ports import FeatureCache
from service.recommend import Recommender
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may need."""

    settings: Settings
    handle: ServableHandle
    catalog: Catalog
    bulk: Bulk
    fast_path: FastPath
    recommender: Recommender
    feedback: Feedback
    models: Models
    inventory: Inventory
    others: JournalFollower
    cache: FeatureCache
    metrics: Metrics


class State(TypedDict):
    """The lifespan's state."""

    services: Services


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


WithServices = Annotated[Services, Depends(_services)]


async def no_query(request: Request) -> None:
    """Refuses query parameters on a route that has none, so that a misplaced one is noticed."""
    if request.query_params:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": "this route has no query parameters"}
                for name in request.query_params
            ]
        )


def media_type(headers: Headers) -> str:
    """What the headers say the body is, without parameters; empty where they say nothing."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def accepts(*expected: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses bodies that do not say they are of one of these media types."""

    async def check(request: Request) -> None:
        found = media_type(request.headers)
        if found not in expected:
            raise HTTPException(415, f"expected content type {' or '.join(expected)}, found {found or 'none'!r}")

    return check


json_only = accepts("application/json")


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer as JSON bytes, not validated again."""
    return Response(orjson.dumps(content), status, headers, "application/json")
