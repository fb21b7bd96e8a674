"""The examples of the OpenAPI document are what the routes take and give."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from service.api.examples import ANSWERS, REQUESTS
from service.api.problems import Problem
from service.api.schemas import ItemBody
from service.app import create_app
from service.settings import Settings


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """An app that is not running."""
    return create_app(Settings(model_store=tmp_path_factory.mktemp("models")))


def route(app: FastAPI, method: str, path: str) -> Any:
    """The route of an operation."""
    return next(
        each for each in app.state.routes if each.path.replace(":path}", "}") == path and method.upper() in each.methods
    )


@pytest.mark.parametrize("operation", REQUESTS, ids=str)
def test_bodies_are_taken(app: FastAPI, operation: tuple[str, str]) -> None:
    """Each is valid where it stands."""
    body = route(app, *operation).body_field
    kind = TypeAdapter(list[ItemBody]) if body is None else TypeAdapter(body.field_info.annotation)
    for example in REQUESTS[operation].values():
        kind.validate_python(example)


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_answers_are_of_their_models(app: FastAPI, answer: tuple[str, str, str]) -> None:
    """Each has the fields that are promised, and no others."""
    method, path, status = answer
    found = route(app, method, path)
    model = Problem if status[0] == "4" else found.responses.get(int(status), {}).get("model") or found.response_model
    example = ANSWERS[answer]
    told = TypeAdapter(model).dump_python(TypeAdapter(model).validate_python(example), mode="json")

    def among(shown: Any, full: Any) -> bool:
        if isinstance(shown, dict):
            return shown.keys() <= full.keys() and all(among(shown[name], full[name]) for name in shown)
        if isinstance(shown, list):
            return len(shown) == len(full) and all(map(among, shown, full))
        return bool(shown == full)

    assert among(example, told)


def test_every_operation_has_examples(app: FastAPI) -> None:
    """Where there is something to show: a JSON body, a JSON answer of success."""
    document = json.loads(json.dumps(app.openapi()))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if "requestBody" in operation:
                assert "examples" in operation["requestBody"]["content"]["application/json"], (method, path)
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json")
                if status.startswith("2") and content and path != "/metrics":
                    assert "example" in content, (method, path, status)


def test_committed_document_has_them() -> None:
    """Who reads it in the repository sees the same."""
    text = (Path(__file__).parents[3] / "docs" / "openapi.json").read_text("utf-8")
    assert '"example"' in text
    assert '"examples"' in text
