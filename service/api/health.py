"""Health and metrics."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from service.api.problems import declare
from service.api.schemas import Liveness, Readiness
from service.api.state import WithServices, json_response
from service.degradation import without

router = APIRouter(tags=["health"])


@router.get("/livez", response_model=Liveness, summary="Whether the process runs")
async def livez() -> Response:
    """Always 200: whoever asks has reached the event loop."""
    return json_response({"status": "alive"})


@router.get("/readyz", response_model=Readiness, summary="Whether a model serves", responses=declare(503))
async def readyz(services: WithServices) -> Response:
    """200 once a model version serves, else 503 with the reason. What is merely degraded is ready."""
    servable = services.handle.current
    version = servable.version
    content = {"status": "ready", "model_version": version, "degraded": without(services.cache, servable)}
    return json_response(content, headers={"X-Model-Version": version})


@router.get(
    "/metrics",
    response_class=Response,
    summary="Metrics for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(services: WithServices) -> Response:
    """Everything measured, in the Prometheus text format."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)
