"""``/items``: add or replace, merge into, look at, delete."""

import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from service.api.item_schemas import ItemPatch
from service.api.problems import declare
from service.api.reading import SEQ_HEADER, reached
from service.api.schemas import ItemBody, ItemOut, ItemWritten
from service.api.state import WithServices, accepts, json_only, json_response, no_query
from service.catalog import Written
from service.conditions import Condition, Tags, tag_of
from service.domain import CatalogItem, EncodingReport

router = APIRouter(tags=["items"], dependencies=[Depends(no_query)])

_ITEM_HEADERS = {
    "ETag": {
        "description": "Number of the item's latest record, quoted; `0-` and the version where only a model knows it.",
        "schema": {"type": "string"},
    },
    "X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}},
}
_TAG = re.compile(r'(?P<weak>W/)?"(?P<opaque>[^"\x00-\x20\x7f]*)"')
_MERGE_PATCH = "application/merge-patch+json"
_LOCATION = {"Location": {"description": "Path of the item.", "schema": {"type": "string"}}}


def _tags_of(name: str, lines: Sequence[str], *, weak: bool) -> Tags | None:
    """The tags that a header names; None where it was not sent.

    Args:
        name: of the header.
        lines: its values.
        weak: whether weak tags count.

    Raises:
        RequestValidationError: it is neither a list of tags nor ``*``.
    """
    text = ",".join(lines).strip()
    if not lines or text == "*":
        return "any" if lines else None
    if not text or _TAG.sub("", text).strip(", \t"):
        message = 'expected * or entity tags, such as "7"'
        raise RequestValidationError([{"type": "etag", "loc": ("header", name), "msg": message}])
    return frozenset(tag["opaque"] for tag in _TAG.finditer(text) if weak or not tag["weak"])


_Match = Annotated[list[str], Header(alias="If-Match", description="Only if the item's ETag is one of these; * = any.")]
_NoneMatch = Annotated[
    list[str], Header(alias="If-None-Match", description="Only if the item's ETag is none of these; * = no such item.")
]


async def _condition(if_match: _Match = [], if_none_match: _NoneMatch = []) -> Condition:  # noqa: B006 - FastAPI copies them
    return Condition(_tags_of("If-Match", if_match, weak=False), _tags_of("If-None-Match", if_none_match, weak=True))


WithCondition = Annotated[Condition, Depends(_condition)]


@router.post(
    "/items",
    status_code=201,
    response_model=ItemWritten,
    summary="Add or replace an item",
    dependencies=[Depends(json_only)],
    responses={
        **declare(400, 412, 413, 415, 422, 500, 503, 507),
        200: {"model": ItemWritten, "description": "Replaced", "headers": _ITEM_HEADERS | SEQ_HEADER},
        201: {"description": "Created", "headers": _ITEM_HEADERS | SEQ_HEADER | _LOCATION},
    },
)
async def put_item(body: ItemBody, condition: WithCondition, services: WithServices) -> Response:
    """Takes an item with any subset of the model's modalities. Once answered, it is on disk and can be recommended.

    An item without any usable modality is taken too: it gets the model's prior, and the encoding report says so.
    """
    written = await services.catalog.put(body.to_item(), condition)
    headers = _headers(written.seq, written.report) | {"X-Index-Seq": str(written.seq)}
    if written.created:
        headers["Location"] = _location(written.item_id)
    return json_response(written_content(written), 201 if written.created else 200, headers)


@router.patch(
    "/items/{item_id:path}",
    response_model=ItemWritten,
    summary="Merge into an item",
    dependencies=[Depends(accepts("application/json", _MERGE_PATCH))],
    openapi_extra={"requestBody": {"content": {_MERGE_PATCH: {"schema": {"$ref": "#/components/schemas/ItemPatch"}}}}},
    responses={
        **declare(400, 404, 409, 412, 413, 415, 422, 500, 503, 507),
        200: {"headers": _ITEM_HEADERS | SEQ_HEADER},
    },
)
async def patch_item(item_id: str, body: ItemPatch, condition: WithCondition, services: WithServices) -> Response:
    """Takes what came late, such as another modality, and encodes the item anew. An empty patch changes nothing.

    A JSON merge patch: what is left out stays, modalities and attributes merge by name, null removes. Of patches at the
    same moment each has its effect.
    """
    written = await services.catalog.patch(item_id, body.to_change(), condition)
    headers = _headers(written.seq, written.report) | {"X-Index-Seq": str(written.seq)}
    return json_response(written_content(written), headers=headers)


@router.get(
    "/items/{item_id:path}",
    response_model=ItemOut,
    summary="Look at an item",
    dependencies=[Depends(reached)],
    responses={
        **declare(404, 422, 503),
        200: {"headers": _ITEM_HEADERS},
        304: {"description": "The item is as the If-None-Match says", "headers": _ITEM_HEADERS},
    },
)
async def get_item(item_id: str, services: WithServices, if_none_match: _NoneMatch = []) -> Response:  # noqa: B006 - FastAPI copies it
    """What the catalogue holds of an item, whether it may be recommended or not."""
    known = Condition(not_among=_tags_of("If-None-Match", if_none_match, weak=True))
    found = services.catalog.get(item_id)
    if not known.holds(found):
        return Response(status_code=304, headers=_headers(found.seq, found.report))
    return json_response(item_content(found), headers=_headers(found.seq, found.report))


@router.delete(
    "/items/{item_id:path}",
    status_code=204,
    response_class=Response,
    summary="Delete an item",
    responses={**declare(404, 409, 412, 422, 503, 507), 204: {"headers": SEQ_HEADER}},
)
async def delete_item(item_id: str, condition: WithCondition, services: WithServices) -> Response:
    """Once answered, the item is gone from every list and stays so over restarts, until it is put again."""
    seq = await services.catalog.delete(item_id, condition)
    return Response(status_code=204, headers={"X-Index-Seq": str(seq)})


def item_content(found: CatalogItem) -> dict[str, Any]:
    """What is answered of an item."""
    item = found.item
    return {
        "item_id": item.item_id,
        "title": item.title,
        "categories": item.categories,
        "attributes": dict(item.attributes),
        "available": item.available,
        "hidden": item.hidden,
        "expires_at": item.expires_at,
        "index_seq": found.seq,
        "encoding": _encoding(found.report),
    }


def written_content(written: Written) -> dict[str, Any]:
    """What is answered to a written item."""
    return {"item_id": written.item_id, "index_seq": written.seq, "encoding": _encoding(written.report)}


def _location(item_id: str) -> str:
    # Whoever resolves a reference takes "." and ".." for directories (RFC 3986, 5.2.4).
    name = item_id.replace(".", "%2E") if item_id in {".", ".."} else quote(item_id, safe="")
    return f"/items/{name}"


def _encoding(report: EncodingReport) -> dict[str, Any]:
    return {
        "present": report.present,
        "missing": report.missing,
        "confidence": report.confidence,
        "model_version": report.model_version,
    }


def _headers(seq: int, report: EncodingReport) -> dict[str, str]:
    return {"ETag": f'"{tag_of(seq, report.model_version)}"', "X-Model-Version": report.model_version}
