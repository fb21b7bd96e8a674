"""Errors as RFC 9457 problem documents. The only place that maps an error to an HTTP status."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    EncodingFailed,
    InvalidCursor,
    InvalidItem,
    ItemMoved,
    ModelNotServing,
    ModelUnavailable,
    NoOlderModel,
    NotReachedYet,
    Overloaded,
    PreconditionFailed,
    RecommenderError,
    StorageFull,
    StorageUnavailable,
    UnknownItem,
    UnknownModel,
    UnknownRecord,
    UnknownUser,
    UnreadableModel,
    json_pointer,
)
from service.request_context import request_id

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "2"
_MOST_ERRORS = 100  # that are told one by one: a request of a few megabytes may have millions


@dataclass(frozen=True, slots=True)
class _Kind:
    status: HTTPStatus
    slug: str
    title: str


_INTERNAL = _Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The service failed")
_TABLE: Mapping[type[Exception], _Kind] = {
    UnknownItem: _Kind(HTTPStatus.NOT_FOUND, "unknown-item", "No such item"),
    UnknownUser: _Kind(HTTPStatus.NOT_FOUND, "unknown-user", "No such user"),
    UnknownModel: _Kind(HTTPStatus.NOT_FOUND, "unknown-model", "No such model version"),
    ModelNotServing: _Kind(HTTPStatus.CONFLICT, "model-not-serving", "That model version does not serve"),
    UnreadableModel: _Kind(HTTPStatus.CONFLICT, "unreadable-model", "That model version is of another format"),
    NoOlderModel: _Kind(HTTPStatus.CONFLICT, "no-older-model", "There is no version to go back to"),
    InvalidCursor: _Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid"),
    InvalidItem: _Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid"),
    PreconditionFailed: _Kind(HTTPStatus.PRECONDITION_FAILED, "precondition-failed", "The item is not as expected"),
    ItemMoved: _Kind(HTTPStatus.CONFLICT, "item-moved", "The item was written by somebody else meanwhile"),
    UnknownRecord: _Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid"),
    NotReachedYet: _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "not-reached-yet", "The record has not arrived here yet"),
    ModelUnavailable: _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "model-unavailable", "No model serves"),
    StorageFull: _Kind(HTTPStatus.INSUFFICIENT_STORAGE, "storage-full", "There is no room left"),
    Overloaded: _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "Too much is waiting"),
    StorageUnavailable: _Kind(HTTPStatus.SERVICE_UNAVAILABLE, "storage-unavailable", "The storage is not available"),
    EncodingFailed: _Kind(HTTPStatus.INTERNAL_SERVER_ERROR, "encoding-failed", "The item could not be encoded"),
    RecommenderError: _INTERNAL,
}
_BY_STATUS: Mapping[int, _Kind] = {
    400: _Kind(HTTPStatus.BAD_REQUEST, "malformed-body", "The body is no JSON"),
    401: _Kind(HTTPStatus.UNAUTHORIZED, "unauthorized", "A key is needed"),
    403: _Kind(HTTPStatus.FORBIDDEN, "forbidden", "The key does not reach that far"),
    404: _Kind(HTTPStatus.NOT_FOUND, "no-such-route", "Nothing lives at this path"),
    405: _Kind(HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "The route does not know this method"),
    408: _Kind(HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The request did not come to its end"),
    409: _Kind(HTTPStatus.CONFLICT, "conflict", "Another request is under way"),
    413: _Kind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body-too-large", "The body is too large"),
    415: _Kind(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is of an unknown type"),
    422: _Kind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid"),
    429: _Kind(HTTPStatus.TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
    500: _INTERNAL,
    504: _Kind(HTTPStatus.GATEWAY_TIMEOUT, "deadline-exceeded", "It took too long"),
}


_Facts = tuple[_Kind, str, Sequence[tuple[str, str]]]  # kind, detail, errors: (pointer, detail)


class ProblemError(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer into the body; for the query /query/NAME, for the path /path/NAME.")
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="Stable name of the kind of problem.")
    title: str = Field(description="The kind of problem in words.")
    status: int
    detail: str = Field(description="What happened this time.")
    instance: str | None = Field(description="The request id, as in the header X-Request-Id.")
    errors: list[ProblemError] = Field(default_factory=list, description="Each thing that is wrong with the request.")


def declare(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI ``responses`` of problems; the schema itself is added once, by ``api.openapi``."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


async def refuse_recommender_error(_: Request, exc: Exception) -> Response:
    """The answer to an error of the use cases."""
    kind, detail, errors = _facts_of_error(exc)
    if isinstance(exc, ModelUnavailable):  # the normal state of a new deployment; probes ask every few seconds
        logger.warning("model_unavailable", extra={"reason": str(exc)})
    elif kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("request_failed", exc_info=exc)
    headers = {"Retry-After": RETRY_AFTER_S} if kind.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    return _respond(kind, detail, errors, headers)


def _facts_of_error(exc: Exception) -> _Facts:
    kind = next(_TABLE[base] for base in type(exc).__mro__ if base in _TABLE)
    detail = kind.title if kind.status == HTTPStatus.INTERNAL_SERVER_ERROR else str(exc)
    errors = [(exc.pointer, exc.reason)] if isinstance(exc, InvalidItem) else []
    return kind, detail, errors


async def refuse_http_exception(request: Request, exc: Exception) -> Response:
    """The answer to what the framework and the middleware refuse."""
    if not isinstance(exc, HTTPException):
        raise TypeError(f"expected an HTTPException, found {type(exc).__name__}")
    headers = dict(exc.headers or {})
    if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods_at(request)):
        headers["Allow"] = ", ".join(sorted(methods))
    return _respond(*_facts_of_http(exc), headers)


def _methods_at(request: Request) -> set[str]:
    """The methods of all routes at a path: the framework names those of the first one only, and HEAD is none of them.

    ``app.state.routes`` holds them, as ``service.app`` leaves them there.
    """
    routes = request.app.state.routes if "app" in request.scope else ()
    matching = [route for route in routes if route.matches(request.scope)[0] != Match.NONE]
    methods = {method for route in matching for method in getattr(route, "methods", None) or ()}
    return methods | {"HEAD"} if "GET" in methods else methods


def _facts_of_http(exc: HTTPException) -> _Facts:
    kind = _BY_STATUS.get(exc.status_code)
    if kind is None:
        status = HTTPStatus(exc.status_code)
        kind = _Kind(status, f"status-{status.value}", status.phrase)
    return kind, str(exc.detail), ()


async def refuse_invalid_request(_: Request, exc: Exception) -> Response:
    """The answer to a request that contradicts its schema: 400 where it is no JSON at all, otherwise 422."""
    if not isinstance(exc, RequestValidationError):
        raise TypeError(f"expected a RequestValidationError, found {type(exc).__name__}")
    return _respond(*_facts_of_request(exc))


def _facts_of_request(exc: RequestValidationError) -> _Facts:
    problems = exc.errors()
    for problem in problems:
        if problem["type"] == "json_invalid":
            reason = problem.get("ctx", {}).get("error", "malformed")
            return _BY_STATUS[400], f"JSON: {reason} (character {problem['loc'][-1]})", ()
    errors = [
        (_pointer(problem, exc.body), str(problem["msg"]).removeprefix("Value error, "))
        for problem in problems[:_MOST_ERRORS]
    ]
    told = [f"{pointer or 'body'}: {text}" for pointer, text in errors]
    if left := len(problems) - len(errors):
        told.append(f"and {left} more")
    return _BY_STATUS[422], "; ".join(told), errors


def problem_of(exc: Exception) -> dict[str, Any]:
    """The problem document of an error that befell one part of a request; the answer as a whole has the instance."""
    if isinstance(exc, RequestValidationError):
        return _document(*_facts_of_request(exc))
    return _document(*(_facts_of_http(exc) if isinstance(exc, HTTPException) else _facts_of_error(exc)))


def refuse_request(errors: Sequence[tuple[str, str]]) -> Response:
    """The answer to a request that is not valid, for middleware: (pointer, what was expected) each."""
    return _respond(_BY_STATUS[422], "; ".join(f"{pointer}: {text}" for pointer, text in errors), errors)


def _pointer(problem: Mapping[str, Any], body: object) -> str:
    """Where a validation error lies in what the client sent; pydantic's names of union branches are left out."""
    place, *parts = problem["loc"]
    if place != "body":
        return json_pointer(place, *parts)
    found: list[str | int] = []
    for part in parts:
        if _has(body, part):
            body = body[part]  # type: ignore[index]  # _has looked
            found.append(part)
        elif problem["type"] == "missing" and part == parts[-1]:
            found.append(part)
    return json_pointer(*found)


def _has(body: object, part: str | int) -> bool:
    if isinstance(body, dict):
        return part in body
    return isinstance(body, list) and isinstance(part, int) and part < len(body)


def _respond(
    kind: _Kind,
    detail: str,
    errors: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    document = _document(kind, detail, errors) | {"instance": request_id.get()}
    return Response(orjson.dumps(document), kind.status.value, dict(headers or {}), MEDIA_TYPE)


def _document(kind: _Kind, detail: str, errors: Iterable[tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": f"urn:i3rec:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status.value,
        "detail": _printable(detail),
        "errors": [{"pointer": _printable(pointer), "detail": _printable(text)} for pointer, text in errors],
    }


def _printable(text: str) -> str:
    # A client may send lone surrogates (JSON "\ud800"), which no UTF-8 answer can hold.
    return text.encode("utf-8", "backslashreplace").decode()


class ErrorBoundary:
    """ASGI middleware: whatever escapes everything else is logged and answered with a 500 without internals."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            logger.exception("unhandled_error")
            await _respond(_INTERNAL, _INTERNAL.title)(scope, receive, send)
