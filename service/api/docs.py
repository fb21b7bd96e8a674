"""The page under ``/docs``, with its scripts from here: services in closed networks have no CDN to load them from."""

import hashlib
import re
from base64 import b64encode
from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse, RedirectResponse

_FILES = Path(fastapi_offline.__file__).parent / "static"
_STATIC = "/static-offline-docs"
_REDIRECT = "/docs/oauth2-redirect"
_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
# Swagger UI has its pictures and many a style in itself.
_POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

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
    page = get_swagger_ui_html(
        openapi_url=f"{root}{app.openapi_url}",
        title=f"{app.title} - Swagger UI",
        oauth2_redirect_url=f"{root}{_REDIRECT}",
        swagger_js_url=f"{root}{_STATIC}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{_STATIC}/swagger-ui.css",
        swagger_favicon_url=f"{root}{_STATIC}/favicon.png",
    )
    return _closed(page)


@router.get(_REDIRECT)
async def redirect_docs() -> HTMLResponse:
    """Where a login leads back to."""
    return _closed(get_swagger_ui_oauth2_redirect_html())


def _closed(page: HTMLResponse) -> HTMLResponse:
    """A page that runs no script but its own, asks nobody else for anything, and is in nobody's frame."""
    digests = [hashlib.sha256(script).digest() for script in _INLINE.findall(bytes(page.body))]
    scripts = " ".join(f"'sha256-{b64encode(digest).decode()}'" for digest in digests)
    page.headers["Content-Security-Policy"] = _POLICY.format(scripts=scripts)
    return page


def mount_docs(app: FastAPI) -> None:
    """Adds the page and its files."""
    app.mount(_STATIC, StaticFiles(directory=_FILES))
    app.include_router(router)
