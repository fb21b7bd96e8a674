"""What the OpenAPI document says beyond the routes."""

from typing import Any

from fastapi import FastAPI

from service.api.examples import add_examples
from service.api.guard import access_needed
from service.api.problems import Problem, declare

_BEFORE = (401, 403, 413, 429, 500, 504)

DESCRIPTION = """\
Recommends from catalogues whose items are incomplete: items are encoded from whatever modalities they have and can be
recommended as soon as they are answered for.

Ids are strings of 1-256 characters without control characters; in a path they are percent-encoded and may hold slashes.
Times are RFC 3339 with zone. Errors are problem documents (RFC 9457).

Where the service has keys, a request needs one: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Read keys ask for
lists and items, write keys also write, admin keys also promote model versions.
"""


_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, where the service has any."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in another header."},
}


_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Your name for this request: sent again with the same body, it is answered as the first time, "
    "request id included, with `Idempotent-Replayed: true` beside it.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$"},
}


def complete(app: FastAPI) -> None:
    """Adds to the document of an app what stands before its routes: the schema of problems, keys, limits, deadline."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = made()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= schema.pop("$defs")
        schemas["Problem"] = schema
        document["components"]["securitySchemes"] = _KEYS
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if access_needed(method.upper(), path) is not None:
                    operation["security"] = [{}, *({name: []} for name in _KEYS)]
                    before = _BEFORE + ((409, 422) if method == "post" else ())
                    before += (408,) if "requestBody" in operation else ()
                    operation["responses"] |= {str(status): each for status, each in declare(*before).items()}
                    if method == "post":
                        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        add_examples(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
