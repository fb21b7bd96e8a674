"""``/items``: add or replace, look at, delete."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends
from starlette.responses import Response

from service.api.problems import declare
from service.api.schemas import ItemBody, ItemOut, ItemWritten
from service.api.state import WithServices, json_only, json_response, no_query
from service.domain import EncodingReport

router = APIRouter(tags=["items"], dependencies=[Depends(no_query)])

_ITEM_HEADERS = {
    "ETag": {"description": "Number of the item's latest record, quoted.", "schema": {"type": "string"}},
    "X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}},
}
_LOCATION = {"Location": {"description": "Path of the item.", "schema": {"type": "string"}}}


@router.post(
    "/items",
    status_code=201,
    response_model=ItemWritten,
    summary="Add or replace an item",
    dependencies=[Depends(json_only)],
    responses={
        **declare(400, 413, 415, 422, 500, 503),
        200: {"model": ItemWritten, "description": "Replaced", "headers": _ITEM_HEADERS},
        201: {"description": "Created", "headers": _ITEM_HEADERS | _LOCATION},
    },
)
async def put_item(body: ItemBody, services: WithServices) -> Response:
    """Takes an item with any subset of the model's modalities. Once answered, it is on disk and can be recommended.

    An item without any usable modality is taken too: it gets the model's prior, and the encoding report says so.
    """
    written = await services.catalog.put(body.to_item())
    report = _encoding(written.report)
    headers = _headers(written.seq, written.report)
    if written.created:
        headers["Location"] = f"/items/{quote(written.item_id, safe='')}"
    content = {"item_id": written.item_id, "index_seq": written.seq, "encoding": report}
    return json_response(content, 201 if written.created else 200, headers)


@router.get(
    "/items/{item_id:path}",
    response_model=ItemOut,
    summary="Look at an item",
    responses={**declare(404, 422, 503), 200: {"headers": _ITEM_HEADERS}},
)
async def get_item(item_id: str, services: WithServices) -> Response:
    """What the catalogue holds of an item, whether it may be recommended or not."""
    found = services.catalog.get(item_id)
    item = found.item
    content = {
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
    return json_response(content, headers=_headers(found.seq, found.report))


@router.delete(
    "/items/{item_id:path}",
    status_code=204,
    response_class=Response,
    summary="Delete an item",
    responses=declare(404, 422, 503),
)
async def delete_item(item_id: str, services: WithServices) -> Response:
    """Once answered, the item is gone from every list and stays so over restarts, until it is put again."""
    await services.catalog.delete(item_id)
    return Response(status_code=204)


def _encoding(report: EncodingReport) -> dict[str, Any]:
    return {
        "present": report.present,
        "missing": report.missing,
        "confidence": report.confidence,
        "model_version": report.model_version,
    }


def _headers(seq: int, report: EncodingReport) -> dict[str, str]:
    return {"ETag": f'"{seq}"', "X-Model-Version": report.model_version}
