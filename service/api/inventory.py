"""``GET /items``: the whole catalogue, page by page."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.responses import Response

from service.api.bounds import RequestPart
from service.api.items import item_content
from service.api.problems import declare
from service.api.reading import VERSION_HEADER, once_each, reached, too_much
from service.api.schemas import ItemPage, packed
from service.api.state import WithServices, json_response
from service.errors import InvalidCursor

router = APIRouter(tags=["items"])

_LIMIT = 100


class InventoryQuery(RequestPart):
    """Which part of the catalogue."""

    limit: int | None = Field(default=None, ge=1, description=f"Most items on the page; {_LIMIT} where none is named.")
    cursor: Annotated[str, Field(max_length=2000, pattern="^[A-Za-z0-9_-]*$")] | None = Field(
        default=None, description="The next_cursor of the page before."
    )
    features: bool = Field(default=False, description="Also give the features of each item.")


@router.get(
    "/items",
    response_model=ItemPage,
    response_model_exclude_unset=True,
    summary="List the catalogue",
    dependencies=[Depends(once_each), Depends(reached)],
    responses={**declare(422, 503), 200: {"headers": VERSION_HEADER}},
)
async def list_items(query: Annotated[InventoryQuery, Query()], services: WithServices) -> Response:
    """All items, those that may not be recommended among them: what was trained by id, then as it was written last.

    Items that are written meanwhile come towards the end, some of them again; none is left out.
    """
    most = services.settings.max_page_items
    if query.limit is not None and query.limit > most:
        raise too_much("query", "limit", f"expected at most {most}", query.limit)
    version = services.handle.current.version
    try:
        page = await services.inventory.page(
            min(_LIMIT, most) if query.limit is None else query.limit, query.cursor, features=query.features
        )
    except InvalidCursor as exc:
        error = {"type": "cursor", "loc": ("query", "cursor"), "msg": exc.reason}
        raise RequestValidationError([error], body={"cursor": query.cursor}) from exc
    items = []
    for found in page.items:
        content = item_content(found)
        if query.features:
            content["modalities"] = {name: packed(vector) for name, vector in found.item.modalities.items()}
        items.append(content)
    return json_response({"items": items, "next_cursor": page.next_cursor}, headers={"X-Model-Version": version})
