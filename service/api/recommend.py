"""``/recommend``: lists for users."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from service.api.problems import declare
from service.api.schemas import ExternalId, Recommendations, RecommendQuery
from service.api.state import Services, WithServices, json_response
from service.observability import request_id
from service.recommend import Query as Question

router = APIRouter(tags=["recommend"])


@router.get(
    "/recommend/{user_id:path}",
    response_model=Recommendations,
    summary="Recommend items to a user",
    responses={
        **declare(404, 422, 503),
        200: {
            "headers": {"X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}}}
        },
    },
)
async def recommend(
    user_id: Annotated[ExternalId, Path()], query: Annotated[RecommendQuery, Query()], services: WithServices
) -> Response:
    """The best items for a user the model knows, otherwise popular ones with a share of new items.

    Unknown query parameters are refused.
    """
    answer = await services.recommender.recommend(_question(user_id, query, services))
    content = {
        "request_id": request_id.get(),
        "user_id": answer.user_id,
        "strategy": answer.strategy,
        "model_version": answer.model_version,
        "index_seq": answer.index_seq,
        "degraded": answer.degraded,
        "items": [
            {"item_id": item.item_id, "score": item.score, "rank": rank, "title": item.title}
            for rank, item in enumerate(answer.items, start=1)
        ],
    }
    return json_response(content, headers={"X-Model-Version": answer.model_version})


def _question(user_id: str, query: RecommendQuery, services: Services) -> Question:
    settings = services.settings
    if query.k is not None and query.k > settings.max_k:
        raise _too_much("k", f"expected at most {settings.max_k}", query.k)
    if len(query.exclude) > settings.max_exclude:
        raise _too_much("exclude", f"expected at most {settings.max_exclude} ids", len(query.exclude))
    return Question(
        user_id,
        settings.default_k if query.k is None else query.k,
        frozenset(query.exclude),
        include_seen=query.seen == "include",
        strict=query.strict,
    )


def _too_much(name: str, message: str, found: Any) -> RequestValidationError:
    return RequestValidationError([{"type": "limit", "loc": ("query", name), "msg": f"{message}, found {found}"}])
