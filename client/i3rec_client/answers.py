"""What comes back about users, models and the service itself."""

from dataclasses import dataclass
from typing import Literal

from i3rec_client.documents import Document, Malformed


@dataclass(frozen=True, slots=True)
class Taken:
    """Interactions were written.

    Attributes:
        accepted: how many were written.
        repeated: how many were known already by their event id.
        seq: number of the latest of their records; 0 where there were none.
    """

    accepted: int
    repeated: int
    seq: int

    @classmethod
    def read(cls, document: Document) -> "Taken":
        """Reads one."""
        return cls(document.get("accepted", int), document.get("repeated", int), document.get("seq", int))


@dataclass(frozen=True, slots=True)
class Models:
    """Which model versions there are, oldest first; which one is to serve, and which one serves."""

    versions: tuple[str, ...]
    promoted: str | None
    serving: str | None

    @classmethod
    def read(cls, document: Document) -> "Models":
        """Reads one."""
        return cls(document.texts("versions"), document.maybe("promoted", str), document.maybe("serving", str))


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version was promoted; it serves once it is built (``serving`` is the one that serves now)."""

    promoted: str
    before: str | None
    serving: str | None

    @classmethod
    def read(cls, document: Document) -> "Promotion":
        """Reads one."""
        return cls(document.get("promoted", str), document.maybe("before", str), document.maybe("serving", str))


@dataclass(frozen=True, slots=True)
class Readiness:
    """The service answers; ``degraded`` names what is not at its best."""

    status: Literal["ready"]
    model_version: str
    degraded: tuple[str, ...]

    @classmethod
    def read(cls, document: Document) -> "Readiness":
        """Reads one."""
        if document.get("status", str) != "ready":
            raise Malformed("expected the status 'ready'")
        return cls("ready", document.get("model_version", str), document.texts("degraded"))
