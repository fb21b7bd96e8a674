"""Writes the OpenAPI document of the service: ``python tools/openapi.py > docs/openapi.json``."""

import json
import sys
from pathlib import Path

from service.app import create_app
from service.settings import Settings


def document() -> str:
    """The document as it is committed."""
    app = create_app(Settings(model_store=Path("store")))
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
