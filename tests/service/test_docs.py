"""The documentation of the settings says what the code does."""

import re
from pathlib import Path

from service.settings import Settings

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
ROW = re.compile(r"^\| `(?P<name>I3REC_\w+)` \| (?P<type>[^|]+) \| (?P<default>[^|]+) \|", re.MULTILINE)


def shown_default(name: str) -> str:
    """A default as the documentation writes it."""
    field = Settings.model_fields[name]
    if field.is_required():
        return "required"
    return (
        "none"
        if field.default in (None, ())
        else f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    )


def shown_type(name: str) -> str:
    """A type as the documentation writes it."""
    annotation = str(Settings.model_fields[name].annotation)
    names = {
        "Secret": "texts",
        "Network": "networks",
        "Path": "path",
        "Literal": "choice",
        "bool": "boolean",
        "int": "integer",
        "float": "number",
        "str": "text",
    }
    return next(shown for part, shown in names.items() if part in annotation)


def test_every_setting_is_documented_and_nothing_else() -> None:
    """Names, types and defaults agree in both directions."""
    documented = {m["name"]: (m["type"].strip(), m["default"].strip()) for m in ROW.finditer(DOCS.read_text("utf-8"))}

    assert documented == {
        f"I3REC_{name.upper()}": (shown_type(name), shown_default(name)) for name in Settings.model_fields
    }
