"""``/models``: which versions there are, and which one serves."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from model_store import Challenger
from service.api.problems import declare
from service.api.state import Services, WithServices, json_response, no_query
from service.api.user_schemas import Models, Promoted
from service.models import Promotion

router = APIRouter(tags=["models"], dependencies=[Depends(no_query)])


@router.get("/models", response_model=Models, summary="List the model versions", responses=declare(422, 503))
async def list_models(services: WithServices) -> Response:
    """All published versions, oldest first, the one that is promoted, and the one that serves."""
    listing = await services.models.listing()
    serving = services.handle.peek
    content = {
        "versions": listing.versions,
        "promoted": listing.promoted,
        "serving": serving.version if serving else None,
        "challenger": listing.challenger and _on_trial(listing.challenger, services),
        "failed": listing.failed and asdict(listing.failed),
        "trial_failed": listing.trial_failed and asdict(listing.trial_failed),
    }
    return json_response(content)


@router.post(
    "/models/{version}/activate",
    status_code=202,
    response_model=Promoted,
    summary="Promote a version",
    responses={**declare(404, 409, 422, 503), 200: {"model": Promoted, "description": "It serves already"}},
)
async def activate(version: str, services: WithServices) -> Response:
    """Promotes a version. It serves as soon as it is built beside the one that serves now; lists go on meanwhile."""
    return _respond(await services.models.promote(version), services)


@router.post(
    "/models/rollback",
    status_code=202,
    response_model=Promoted,
    summary="Go back to the version promoted before",
    responses={**declare(409, 503), 200: {"model": Promoted, "description": "It serves already"}},
)
async def rollback(services: WithServices) -> Response:
    """Promotes the version that was promoted before the current one."""
    return _respond(await services.models.roll_back(), services)


def _on_trial(challenger: Challenger, services: Services) -> dict[str, Any]:
    contender = services.handle.contender
    return {
        "version": challenger.version,
        "share": challenger.share,
        "mode": challenger.mode,
        "live": contender is not None and contender.servable.version == challenger.version,
    }


def _respond(promotion: Promotion, services: Services) -> Response:
    serving = services.handle.peek.version if services.handle.peek else None
    content: dict[str, Any] = {"promoted": promotion.version, "before": promotion.before, "serving": serving}
    return json_response(content, 200 if serving == promotion.version else 202)
