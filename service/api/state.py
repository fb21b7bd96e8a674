"""What the routes are given: made by ``service.app`` in the lifespan, found in each request's state."""

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import orjson
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.catalog import Catalog
from service.observability import Metrics
from service.ports import FeatureCache
from service.recommend import Recommender
from service.servable import ServableHandle
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a route may need."""

    settings: Settings
    handle: ServableHandle
    catalog: Catalog
    recommender: Recommender
    cache: FeatureCache
    metrics: Metrics


class State(TypedDict):
    """The lifespan's state."""

    services: Services


def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


WithServices = Annotated[Services, Depends(_services)]


def no_query(request: Request) -> None:
    """Refuses query parameters on a route that has none, so that a misplaced one is noticed."""
    if request.query_params:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": "this route has no query parameters"}
                for name in request.query_params
            ]
        )


def json_only(request: Request) -> None:
    """Refuses bodies that do not say they are JSON."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise HTTPException(415, f"expected content type application/json, found {content_type or 'none'!r}")


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer as JSON bytes, not validated again."""
    return Response(orjson.dumps(content), status, headers, "application/json")
