"""What the OpenAPI document says beyond the routes."""

from typing import Any

from fastapi import FastAPI

from service.api.problems import Problem

DESCRIPTION = """\
Recommends from catalogues whose items are incomplete: items are encoded from whatever modalities they have and can be
recommended as soon as they are answered for.

Ids are strings of 1-256 characters without control characters; in a path they are percent-encoded and may hold slashes.
Times are RFC 3339 with zone. Errors are problem documents (RFC 9457).
"""


def add_problem_schema(app: FastAPI) -> None:
    """Adds the schema every problem response refers to to the document of an app."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= schema.pop("$defs")
        schemas["Problem"] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]
