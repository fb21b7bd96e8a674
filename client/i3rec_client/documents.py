"""Reading JSON documents field by field, each of the type it must have."""

import json
from collections.abc import Iterator
from typing import TypeVar

V = TypeVar("V")


class Malformed(Exception):
    """A document is not what it should be; never leaves this package."""


class Document:
    """A JSON object. Fields nobody asks for are left alone: a later service may have more of them.

    Args:
        value: as ``json`` read it.

    Raises:
        Malformed: it is no object.
    """

    def __init__(self, value: object) -> None:
        self._fields: dict[str, object] = _checked("document", value, dict)

    @classmethod
    def parse(cls, text: bytes) -> "Document":
        """Reads a document.

        Raises:
            Malformed: it is no JSON object.
        """
        try:
            return cls(json.loads(text))
        except (ValueError, RecursionError) as exc:
            raise Malformed(f"expected JSON: {exc}") from exc

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str, kind: type[V]) -> V:
        """A field that must be there.

        Raises:
            Malformed: it is not, or of another type.
        """
        if name not in self._fields:
            raise Malformed(f"expected a field {name!r}")
        return _checked(name, self._fields[name], kind)

    def maybe(self, name: str, kind: type[V]) -> V | None:
        """A field that may be missing or null.

        Raises:
            Malformed: it is of another type.
        """
        value = self._fields.get(name)
        return None if value is None else _checked(name, value, kind)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(_checked(name, value, str) for value in self.get(name, list))

    def part(self, name: str) -> "Document":
        """An object within."""
        return Document(self.get(name, dict))

    def parts(self, name: str) -> Iterator["Document"]:
        """A list of objects within."""
        return map(Document, self.get(name, list))


def _checked(name: str, value: object, kind: type[V]) -> V:
    """A value of a type; whole numbers are numbers as well, truth values are none."""
    try:
        found: object = float(value) if kind is float and type(value) is int else value
    except OverflowError as exc:
        raise Malformed(f"expected {name!r} to be {kind.__name__}, found an integer that none can hold") from exc
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise Malformed(f"expected {name!r} to be {kind.__name__}, found {type(value).__name__}")
    return found
