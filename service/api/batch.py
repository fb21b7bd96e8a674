"""``/items/batch``: many items in one request, as an array or as a stream of lines."""

import json
import logging
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import orjson
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api.item_schemas import BatchAnswer, LineResult
from service.api.items import written_content
from service.api.problems import declare, problem_of
from service.api.reading import VERSION_HEADER
from service.api.schemas import ExternalId, ItemBody
from service.api.state import Services, WithServices, accepts, json_response, media_type, no_query
from service.bulk import CHUNK
from service.catalog import Written
from service.domain import Item
from service.errors import EncodingFailed, InvalidItem, StorageUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATH = "/items/batch"
JSON, LINES = "application/json", "application/x-ndjson"

router = APIRouter(tags=["items"], dependencies=[Depends(no_query)])

_Lines = list[bytes | None]
_ID: TypeAdapter[str] = TypeAdapter(ExternalId)
_BEYOND_64_BITS = 2.0**63
_ITEM = {"$ref": "#/components/schemas/ItemBody"}
_BODY = {
    "required": True,
    "content": {
        JSON: {"schema": {"type": "array", "items": _ITEM}},
        LINES: {"schema": _ITEM, "description": "One item a line."},
    },
}


class _Read(NamedTuple):
    """One item as it was read: the item, or what is wrong with it."""

    item_id: str | None
    found: Item | Exception


def is_stream(scope: Scope) -> bool:
    """Whether a request's body is read line by line, however long it is."""
    return bool(scope["path"] == PATH and media_type(Headers(scope=scope)) == LINES)


async def _unconditional(request: Request) -> None:
    """Refuses conditions, which name the state of one item."""
    if names := [name for name in ("If-Match", "If-None-Match") if name in request.headers]:
        message = "expected none for many items at once"
        raise RequestValidationError([{"type": "header", "loc": ("header", name), "msg": message} for name in names])


@router.post(
    PATH,
    status_code=207,
    response_model=BatchAnswer,
    summary="Add or replace many items",
    dependencies=[Depends(accepts(JSON, LINES)), Depends(_unconditional)],
    openapi_extra={"requestBody": _BODY},
    responses={
        **declare(400, 413, 415, 422, 503),
        207: {
            "description": "What became of each item; one bad item never stops the others",
            "headers": VERSION_HEADER,
            "content": {LINES: {"schema": LineResult.model_json_schema(ref_template="#/components/schemas/{model}")}},
        },
    },
)
async def put_items(request: Request, services: WithServices) -> Response:
    """Takes items as POST /items does: those whose status is 200 or 201 are on disk and can be recommended.

    A JSON array is answered as a whole. Of lines (application/x-ndjson) there may be any number, and their results come
    as they are written, some hundreds at a time: read the answer while you send. Where an id comes twice, the later
    item holds.
    """
    headers = {"X-Model-Version": services.handle.current.version}
    if media_type(request.headers) == LINES:
        lines = read_lines(request.stream(), services.settings.max_body_bytes)
        # Clients who wait for "100 Continue" get it before the answer begins.
        started = _prepend(await anext(lines, []), lines)
        answer = _answer_lines(started, services)
        if request.scope.get("http_version") == "1.0":  # whose answers end with the connection, and have no chunks
            return Response(b"".join([line async for line in answer]), 207, headers, LINES)
        return _Duplex(answer, 207, headers, media_type=LINES)
    return json_response(await _answer_array(_array(await request.body(), services), services), 207, headers)


async def _answer_array(documents: Sequence[object], services: Services) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    for start in range(0, len(documents), CHUNK):
        part = documents[start : start + CHUNK]
        results += await _write(await to_thread.run_sync(_checked_all, part), services)
    failed = sum("error" in result for result in results)
    return {"results": results, "written": len(results) - failed, "failed": failed}


async def _answer_lines(lines: AsyncIterator[_Lines], services: Services) -> AsyncIterator[bytes]:
    written = failed = 0
    async for chunk in _chunks(lines, services.settings.max_body_bytes):
        numbers = [number for number, _ in chunk]
        read = await to_thread.run_sync(_read_all, [line for _, line in chunk], services.settings.max_body_bytes)
        results = await _write(read, services)
        refused = sum("error" in result for result in results)
        written, failed = written + len(results) - refused, failed + refused
        yield b"".join([_line({"line": n} | result) for n, result in zip(numbers, results, strict=True)])
    yield _line({"written": written, "failed": failed})


async def _write(read: Sequence[_Read], services: Services) -> list[dict[str, Any]]:
    items = [each.found for each in read if isinstance(each.found, Item)]
    outcomes = await services.bulk.put_many(items)
    failures = [each for each in outcomes if isinstance(each, EncodingFailed | StorageUnavailable)]
    if failures:  # logged together: a stream on a full disk must not fill it with a trace for each item
        logger.error("items_not_written", extra={"items": len(failures)}, exc_info=failures[0])
    rest = iter(outcomes)
    return [_result(each.item_id, next(rest) if isinstance(each.found, Item) else each.found) for each in read]


def _result(item_id: str | None, outcome: Written | Exception) -> dict[str, Any]:
    if isinstance(outcome, Written):
        return {"status": 201 if outcome.created else 200, **written_content(outcome)}
    problem = problem_of(outcome)
    return {"item_id": item_id, "status": problem["status"], "error": problem}


async def read_lines(stream: AsyncIterable[bytes], max_bytes: int) -> AsyncIterator[_Lines]:
    """The lines of a stream without their ends, some at a time; None for one longer than ``max_bytes``.

    Such a line is not kept. Where the client goes away, the line it was about to send is left out.
    """
    kept, too_long = bytearray(), False
    try:
        async for data in stream:
            first, *others = data.split(b"\n")
            too_long = too_long or len(kept) + len(first) > max_bytes
            if too_long:
                kept = bytearray()
            else:
                kept += first  # in place: a line may come byte by byte
            if others:
                *others, tail = others
                yield [
                    None if too_long else bytes(kept),
                    *(line if len(line) <= max_bytes else None for line in others),
                ]
                too_long = len(tail) > max_bytes
                kept = bytearray() if too_long else bytearray(tail)
    except ClientDisconnect:
        return
    if kept or too_long:
        yield [None if too_long else bytes(kept)]


async def _chunks(lines: AsyncIterator[_Lines], max_bytes: int) -> AsyncIterator[list[tuple[int, bytes | None]]]:
    """Numbered lines, as many as are best written at once, and not much more than ``max_bytes``."""
    chunk: list[tuple[int, bytes | None]] = []
    number = size = 0
    async for some in lines:
        for line in some:
            number += 1
            if line is None or line.strip():
                chunk.append((number, line))
                size += len(line or b"")
            if len(chunk) == CHUNK or size > max_bytes:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


def _array(body: bytes, services: Services) -> list[object]:
    documents, most = _parsed(body), services.settings.max_batch_items
    if not isinstance(documents, list):
        raise _refusal("list_type", "expected an array of items")
    if len(documents) > most:
        raise _refusal("limit", f"expected at most {most} items, found {len(documents)}")
    return documents


def _checked_all(documents: Sequence[object]) -> list[_Read]:
    return [_checked(document) for document in documents]


def _read_all(lines: Sequence[bytes | None], max_bytes: int) -> list[_Read]:
    return [_read(line, max_bytes) for line in lines]


def _read(line: bytes | None, max_bytes: int) -> _Read:
    if line is None:
        return _Read(None, HTTPException(413, f"expected at most {max_bytes} bytes in a line"))
    try:
        return _checked(_parsed(line))
    except RequestValidationError as exc:
        return _Read(None, exc)


def _checked(document: object) -> _Read:
    try:
        item = ItemBody.model_validate(document).to_item()
    except InvalidItem as exc:
        return _Read(_id_in(document), exc)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        problems = [{**error, "loc": ("body", *error["loc"])} for error in errors]
        return _Read(_id_in(document), RequestValidationError(problems, body=document))
    return _Read(item.item_id, item)


def _id_in(document: object) -> str | None:
    """The id of an item that is wrong otherwise; None where it cannot be told, or could not be sent back."""
    with suppress(ValidationError):
        return _ID.validate_python(document.get("item_id") if isinstance(document, Mapping) else None)
    return None


def _parsed(text: bytes) -> Any:
    """A JSON document, read as FastAPI reads that of a POST.

    Raises:
        RequestValidationError: it is none.
    """
    # It is stricter than the standard library, whose NaN is refused later, with its place.
    with suppress(orjson.JSONDecodeError):
        document = orjson.loads(text)
        if not any(map(_may_be_rounded, document if isinstance(document, list) else (document,))):
            return document
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        raise _refusal("json_invalid", exc.msg, exc.pos) from exc
    except (ValueError, RecursionError) as exc:
        raise _refusal("json_invalid", str(exc), 0) from exc


def _may_be_rounded(document: object) -> bool:
    """Whether an attribute was perhaps an integer of more than 64 bits, of which orjson makes a float."""
    attributes = document.get("attributes") if isinstance(document, dict) else None
    return isinstance(attributes, dict) and any(
        type(value) is float and abs(value) >= _BEYOND_64_BITS for value in attributes.values()
    )


def _refusal(kind: str, reason: str, *place: int) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("body", *place), "msg": reason, "ctx": {"error": reason}}])


def _line(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


async def _prepend(first: T, others: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first
    async for each in others:
        yield each


class _Duplex(StreamingResponse):
    """Answers while the body is still being read; the framework's own would swallow it, looking for disconnects."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of every response
        await self.stream_response(send)
