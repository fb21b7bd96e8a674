"""The committed OpenAPI document, and what the prose says of it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    """The document in docs/."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "openapi.json").read_text("utf-8"))
    return found


def test_document_is_that_of_the_code(committed: dict[str, Any]) -> None:
    """``python tools/openapi.py > docs/openapi.json`` was run after the last change."""
    done = subprocess.run(
        [sys.executable, "tools/openapi.py"], cwd=ROOT, capture_output=True, check=True, env={"PYTHONPATH": "."}
    )

    assert json.loads(done.stdout) == committed


def test_every_route_is_described(committed: dict[str, Any]) -> None:
    """docs/api.md names each path with each of its methods, and nothing that is not there."""
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    table = text[text.index("| route |") : text.index("## Items")]

    described = set(re.findall(r"`(GET|POST|PATCH|DELETE) (/[^`]*)`", table))
    probes = {("GET", path) for path in ("/livez", "/readyz", "/metrics")}
    routes = {(method.upper(), path) for path, operations in committed["paths"].items() for method in operations}
    assert described == routes - probes


def test_every_list_option_is_described(committed: dict[str, Any]) -> None:
    """The table of docs/api.md has the parameters of a recommendation."""
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    table = text[text.index("| parameter |") : text.index("`strategy` is")]

    described = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    parameters = committed["paths"]["/recommend/{user_id}"]["get"]["parameters"]
    assert described == {each["name"] for each in parameters if each["in"] == "query"}
