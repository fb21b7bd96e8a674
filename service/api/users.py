"""``/interactions`` and ``/users``: what users did, and forgetting it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from service.api.problems import declare
from service.api.reading import SEQ_HEADER, check_length
from service.api.schemas import ExternalId
from service.api.state import WithServices, json_only, json_response, no_query
from service.api.user_schemas import Interactions, InteractionsTaken

router = APIRouter(tags=["users"], dependencies=[Depends(no_query)])


@router.post(
    "/interactions",
    status_code=202,
    response_model=InteractionsTaken,
    summary="Say what users did",
    dependencies=[Depends(json_only)],
    responses={**declare(400, 413, 415, 422, 503, 507), 202: {"headers": SEQ_HEADER}},
)
async def interact(body: Interactions, services: WithServices) -> Response:
    """Takes one interaction or a list of them. Once answered, they are on disk and count in the next list.

    The items will not be recommended to their users again (unless with ``seen=include``). An ``event_id`` makes a
    repetition harmless: the same one again changes nothing, until the user is erased. Items nobody knows yet are taken
    as well.
    """
    events = body if isinstance(body, list) else [body]
    check_length("body", "", events, services.settings.max_interactions)
    noted = await services.feedback.note([event.to_interaction() for event in events])
    content = {"accepted": noted.accepted, "repeated": noted.repeated, "seq": noted.seq}
    return json_response(content, 202, {"X-Index-Seq": str(noted.seq)})


@router.delete(
    "/users/{user_id:path}",
    status_code=204,
    response_class=Response,
    summary="Erase a user's online data",
    responses={**declare(422, 503, 507), 204: {"headers": SEQ_HEADER}},
)
async def erase_user(user_id: Annotated[ExternalId, Path()], services: WithServices) -> Response:
    """Erases all interactions of a user, from the disk as well; also answered so where there are none.

    What a model learned from them in training stays until a model is trained without them.
    """
    seq = await services.feedback.erase(user_id)
    return Response(status_code=204, headers={"X-Index-Seq": str(seq)})
