"""``/recommend`` and ``/items/{item_id}/similar``: lists."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.api.items import get_item
from service.api.list_schemas import (
    BatchBody,
    BatchRecommendations,
    Recommendations,
    RecommendQuery,
    SessionBody,
    SimilarQuery,
)
from service.api.problems import declare
from service.api.reading import VERSION_HEADER, answer_content, check_length, list_content, once_each, reached, wish_of
from service.api.schemas import ExternalId
from service.api.state import WithServices, json_only, json_response, no_query
from service.domain import Recommendation
from service.request_context import request_id

router = APIRouter(tags=["recommend"])

_BODY = [Depends(no_query), Depends(json_only), Depends(reached)]
_SIMILAR = "/similar"


@router.get(
    "/recommend/{user_id:path}",
    response_model=Recommendations,
    summary="Recommend items to a user",
    dependencies=[Depends(once_each), Depends(reached)],
    responses={**declare(404, 409, 422, 503), 200: {"headers": VERSION_HEADER}},
)
async def recommend(
    user_id: Annotated[ExternalId, Path()], query: Annotated[RecommendQuery, Query()], services: WithServices
) -> Response:
    """The best items for a user with a history, in training or since; otherwise popular ones with a share of new items.

    Every interaction that was answered for counts. Unknown query parameters are refused.
    """
    wish = wish_of(query, services.settings)
    return _respond(await services.recommender.for_user(user_id, wish, strict=query.strict))


@router.post(
    "/recommend",
    response_model=Recommendations,
    summary="Recommend items to a session",
    dependencies=_BODY,
    responses={**declare(400, 409, 413, 415, 422, 503), 200: {"headers": VERSION_HEADER}},
)
async def recommend_to_session(body: SessionBody, services: WithServices) -> Response:
    """The best items for somebody without a name, from what they did. Nothing of it is kept.

    Items nobody knows are passed over; where none means anything to the model the list is the popular one.
    """
    wish = wish_of(body, services.settings, "body")
    check_length("body", "history", body.history, services.settings.max_history)
    return _respond(await services.recommender.for_session(body.history, wish))


@router.post(
    "/recommend/batch",
    response_model=BatchRecommendations,
    summary="Recommend items to several users",
    dependencies=_BODY,
    responses={**declare(400, 404, 409, 413, 415, 422, 503), 200: {"headers": VERSION_HEADER}},
)
async def recommend_to_several(body: BatchBody, services: WithServices) -> Response:
    """A list for each user, in the order of the request, all from the same model version."""
    wish = wish_of(body, services.settings, "body")
    check_length("body", "users", body.users, services.settings.max_users)
    answers = await services.recommender.for_users(body.users, wish, strict=body.strict)
    content = {"request_id": request_id.get(), "results": [list_content(answer) for answer in answers]}
    return json_response(content, headers={"X-Model-Version": answers[0].model_version})


@router.get(
    "/items/{item_id:path}/similar",
    tags=["items"],
    response_model=Recommendations,
    summary="Items for fans of an item",
    dependencies=[Depends(once_each), Depends(reached)],
    responses={**declare(404, 409, 422, 503), 200: {"headers": VERSION_HEADER}},
)
async def similar(
    request: Request, item_id: str, query: Annotated[SimilarQuery, Query()], services: WithServices
) -> Response:
    """What somebody would get whose history is this item alone, without the item itself; also for hidden items."""
    if not request.scope.get("raw_path", b"").partition(b"?")[0].endswith(_SIMILAR.encode()):
        # The slash was percent-encoded: it belongs to the id of an item that happens to end like this route.
        await no_query(request)
        return await get_item(item_id + _SIMILAR, services, request.headers.getlist("If-None-Match"))
    wish = wish_of(query, services.settings)
    return _respond(await services.recommender.similar(item_id, wish))


def _respond(answer: Recommendation) -> Response:
    return json_response(answer_content(answer), headers={"X-Model-Version": answer.model_version})
