"""ASGI middleware for ``HEAD``."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Answers HEAD as GET, without the body (RFC 9110, 9.3.2): FastAPI's routes know only what they were given."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        as_get = {**scope, "method": "GET"}  # the server has to know what it really was
        try:
            await self._app(as_get, receive, send_head)
        finally:
            if "route" in as_get:  # which the metrics ask for
                scope["route"] = as_get["route"]
