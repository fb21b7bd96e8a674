"""What the routes that answer with lists have in common: parameters in, lists out."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from fastapi import Header
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

from service.api.list_schemas import ListOptions
from service.api.state import WithServices
from service.domain import Recommendation, Suggestion
from service.errors import InvalidCursor, UnknownRecord
from service.facets import AttributeIs
from service.labels import Places
from service.lists import Wish
from service.paging import Shown, read_cursor
from service.request_context import request_id
from service.settings import Settings

_REPEATABLE = frozenset({"exclude", "category", "attribute"})
VERSION_HEADER = {"X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}}}


SEQ_HEADER = {
    "X-Index-Seq": {
        "description": "Number of the record that was written: send it with a read that must see it, on any replica.",
        "schema": {"type": "integer"},
    }
}


async def reached(
    services: WithServices,
    x_index_seq: Annotated[
        str | None,
        Header(
            alias="X-Index-Seq",
            pattern="^[0-9]{1,18}$",
            description="Answer only once all records up to this one count here.",
        ),
    ] = None,
) -> None:
    """Waits until this replica knows what the caller has to see.

    Raises:
        RequestValidationError: there is no such record.
        NotReachedYet: it is not here within ``read_wait_s``.
    """
    if x_index_seq is not None:
        try:
            await services.others.reach(int(x_index_seq), services.settings.read_wait_s)
        except UnknownRecord as exc:
            error = {"type": "record", "loc": ("header", "X-Index-Seq"), "msg": str(exc)}
            raise RequestValidationError([error]) from exc


async def once_each(request: Request) -> None:
    """Refuses parameters that come twice, lists apart, so that none is passed over in silence.

    Raises:
        RequestValidationError: naming each.
    """
    names = Counter(name for name, _ in request.query_params.multi_items())
    twice = [name for name, times in names.items() if times > 1 and name not in _REPEATABLE]
    if twice:
        raise RequestValidationError(
            [{"type": "repeated", "loc": ("query", name), "msg": "expected at most once"} for name in twice]
        )


def wish_of(options: ListOptions, settings: Settings, place: str = "query") -> Wish:
    """What is asked for, within the limits.

    Args:
        options: of the request.
        settings: hold the limits.
        place: where the options stand, "query" or "body".

    Raises:
        RequestValidationError: a limit is exceeded.
    """
    if options.k is not None and options.k > settings.max_k:
        raise too_much(place, "k", f"expected at most {settings.max_k}", options.k)
    check_length(place, "exclude", options.exclude, settings.max_exclude)
    check_length(place, "category", options.category, settings.max_exclude)
    k = settings.default_k if options.k is None else options.k
    if options.explain and k > settings.max_explain:
        raise too_much(place, "k", f"with explain, expected at most {settings.max_explain}", k)
    return Wish(
        k,
        frozenset(options.exclude),
        include_seen=options.seen == "include",
        categories=frozenset(options.category),
        attributes=_conditions(options, settings, place),
        min_score=options.min_score,
        diversity=options.diversity,
        max_per_category=options.max_per_category,
        explain=options.explain,
        shown=_shown(options.cursor, settings.max_cursor, place),
        model=options.model,
    )


def _conditions(options: ListOptions, settings: Settings, place: str) -> tuple[AttributeIs, ...]:
    conditions = options.conditions()
    values = sum(len(condition.any_of or ()) for condition in conditions)
    if values > settings.max_exclude:
        name = "attribute" if place == "query" else "attributes"
        raise too_much(place, name, f"expected at most {settings.max_exclude} values", values)
    return conditions


def _shown(cursor: str | None, most: int, place: str) -> Shown:
    if cursor is None:
        return Shown()
    try:
        return read_cursor(cursor, most)
    except InvalidCursor as exc:
        error = {"type": "cursor", "loc": (place, "cursor"), "msg": exc.reason}
        raise RequestValidationError([error], body={"cursor": cursor}) from exc


def check_length(place: str, name: str, values: Sequence[object], most: int) -> None:
    """Refuses lists that are too long; ``name`` is empty where the list is the whole body.

    Raises:
        RequestValidationError: naming the list.
    """
    if len(values) > most:
        raise too_much(place, name, f"expected at most {most} entries", len(values))


def too_much(place: str, name: str, message: str, found: object) -> RequestValidationError:
    """The refusal of a value beyond a limit."""
    error = {"type": "limit", "loc": (place, name) if name else (place,), "msg": f"{message}, found {found}"}
    return RequestValidationError([error], body={name: found})  # pointers name only what stands in the body


def list_content(answer: Recommendation) -> dict[str, Any]:
    """A list as it is sent, for orjson."""
    return {
        "user_id": answer.user_id,
        "strategy": answer.strategy,
        "model_version": answer.model_version,
        "index_seq": answer.index_seq,
        "degraded": answer.degraded,
        "items": orjson.Fragment(_items_bytes(answer.items)),
        "next_cursor": answer.next_cursor,
    }


def _items_bytes(items: Sequence[Suggestion]) -> bytes:
    if isinstance(items, Places):
        return items.as_json()
    return orjson.dumps([_place(rank, item) for rank, item in enumerate(items, start=1)])


def _place(rank: int, item: Suggestion) -> dict[str, Any]:
    place: dict[str, Any] = {"item_id": item.item_id, "score": item.score, "rank": rank, "title": item.title}
    if item.reasons:
        place["reasons"] = {
            "liked": [
                {"item_id": liked.item_id, "title": liked.title, "contribution": liked.contribution}
                for liked in item.reasons.liked
            ],
            "modalities": item.reasons.modalities,
        }
    return place


def lasting_parts(answer: Recommendation) -> tuple[bytes, bytes]:
    """What of ``answer_content`` is the same whenever a list is sent, as JSON: before and after what is not."""
    names = (answer.user_id, answer.strategy, answer.model_version)
    first = b'"user_id":%b,"strategy":%b,"model_version":%b' % tuple(map(orjson.dumps, names))
    cursor = orjson.dumps(answer.next_cursor)
    return first, b'"items":%b,"next_cursor":%b}' % (_items_bytes(answer.items), cursor)


def answer_bytes(answer: Recommendation, parts: tuple[bytes, bytes]) -> bytes:
    """``answer_content`` as JSON, put together of its ``lasting_parts``."""
    degraded = orjson.dumps(answer.degraded) if answer.degraded else b"[]"
    return b'{"request_id":%b,%b,"index_seq":%d,"degraded":%b,%b' % (
        orjson.dumps(request_id.get()),
        parts[0],
        answer.index_seq,
        degraded,
        parts[1],
    )


def answer_content(answer: Recommendation) -> dict[str, Any]:
    """A list as the answer to a request."""
    return {"request_id": request_id.get(), **list_content(answer)}
