"""The page under ``/docs``, with its scripts from here: services in closed networks have no CDN to load them from."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse, RedirectResponse

_FILES = Path(fastapi_offline.__file__).parent / "static"
_STATIC = "/static-offline-docs"
_REDIRECT = "/docs/oauth2-redirect"

# Of this module, not of an app as with FastAPIOffline: FastAPI remembers the functions of routes for good, and these
# would keep every app of a process.
router = APIRouter(include_in_schema=False)


@router.get("/")
async def lead_to_docs(request: Request) -> RedirectResponse:
    """Whoever opens the address of the service in a browser sees what it can do."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/docs")
async def show_docs(request: Request) -> HTMLResponse:
    """Swagger UI of the routes."""
    app: FastAPI = request.app
    root = request.scope.get("root_path", "")
    return get_swagger_ui_html(
        openapi_url=f"{root}{app.openapi_url}",
        title=f"{app.title} - Swagger UI",
        oauth2_redirect_url=f"{root}{_REDIRECT}",
        swagger_js_url=f"{root}{_STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{_STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{root}{_STATIC}/favicon.png",
    )


@router.get(_REDIRECT)
async def redirect_docs() -> HTMLResponse:
    """Where a login leads back to."""
    return get_swagger_ui_oauth2_redirect_html()


def mount_docs(app: FastAPI) -> None:
    """Adds the page and its files."""
    app.mount(_STATIC, StaticFiles(directory=_FILES))
    app.include_router(router)
