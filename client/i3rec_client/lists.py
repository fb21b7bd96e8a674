"""Lists of recommendations as they come back."""

from collections.abc import Mapping
from dataclasses import dataclass

from i3rec_client.documents import Document


@dataclass(frozen=True, slots=True)
class Liked:
    """An item of the history that speaks for a place in the list; ``contribution`` is its part of the score."""

    item_id: str
    title: str | None
    contribution: float

    @classmethod
    def read(cls, document: Document) -> "Liked":
        """Reads one."""
        return cls(document.get("item_id", str), document.maybe("title", str), document.get("contribution", float))


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why an item is there.

    Attributes:
        liked: items of the history that give most to the score, the most first.
        modalities: by how much the score falls without each; None where the item stands by clicks, not by content.
    """

    liked: tuple[Liked, ...]
    modalities: Mapping[str, float] | None

    @classmethod
    def read(cls, document: Document) -> "Reasons":
        """Reads them."""
        falls = document.maybe("modalities", dict)
        modalities = None if falls is None else {name: Document(falls).get(name, float) for name in falls}
        return cls(tuple(map(Liked.read, document.parts("liked"))), modalities)


@dataclass(frozen=True, slots=True)
class Place:
    """One place in a list; ``rank`` is from 1, ``reasons`` are there where they were asked for and exist."""

    item_id: str
    score: float
    rank: int
    title: str | None
    reasons: Reasons | None

    @classmethod
    def read(cls, document: Document) -> "Place":
        """Reads one."""
        return cls(
            document.get("item_id", str),
            document.get("score", float),
            document.get("rank", int),
            document.maybe("title", str),
            Reasons.read(document.part("reasons")) if document.maybe("reasons", dict) is not None else None,
        )


@dataclass(frozen=True, slots=True)
class ItemList:
    """A list, best first.

    Attributes:
        user_id: whom it is for; None for a session, and for fans of an item.
        strategy: personal, session or popular.
        index_seq: highest record of an item that the list knows of.
        degraded: what was not at its best: cache, index (the search engine), or history.
        next_cursor: asks for the next page; None where there is none.
    """

    request_id: str
    user_id: str | None
    strategy: str
    model_version: str
    index_seq: int
    degraded: tuple[str, ...]
    items: tuple[Place, ...]
    next_cursor: str | None

    @classmethod
    def read(cls, document: Document) -> "ItemList":
        """Reads an answer that is one list."""
        return cls._of(document, document.get("request_id", str))

    @classmethod
    def read_several(cls, document: Document) -> tuple["ItemList", ...]:
        """Reads an answer of several lists, which share a request."""
        request_id = document.get("request_id", str)
        return tuple(cls._of(part, request_id) for part in document.parts("results"))

    @classmethod
    def _of(cls, document: Document, request_id: str) -> "ItemList":
        return cls(
            request_id=request_id,
            user_id=document.maybe("user_id", str),
            strategy=document.get("strategy", str),
            model_version=document.get("model_version", str),
            index_seq=document.get("index_seq", int),
            degraded=document.texts("degraded"),
            items=tuple(map(Place.read, document.parts("items"))),
            next_cursor=document.maybe("next_cursor", str),
        )
