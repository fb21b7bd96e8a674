"""What comes back about items."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from i3rec_client.bodies import Item
from i3rec_client.documents import Document, Malformed
from i3rec_client.problems import Problem, problem_of
from i3rec_client.vectors import unpacked


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an item was encoded.

    Attributes:
        present: modalities that were used.
        missing: modalities of the model that the item lacks.
        confidence: in [0, 1]; None where the vector was trained, not encoded.
    """

    present: tuple[str, ...]
    missing: tuple[str, ...]
    confidence: float | None
    model_version: str

    @classmethod
    def read(cls, document: Document) -> "Encoding":
        """Reads one."""
        return cls(
            document.texts("present"),
            document.texts("missing"),
            document.maybe("confidence", float),
            document.get("model_version", str),
        )


@dataclass(frozen=True, slots=True)
class Written:
    """An item was written.

    Attributes:
        index_seq: number of the record, for If-Match.
        created: whether there was no such item before; always False of a patch.
    """

    item_id: str
    index_seq: int
    encoding: Encoding
    created: bool

    @classmethod
    def read(cls, document: Document, *, created: bool) -> "Written":
        """Reads one."""
        encoding = Encoding.read(document.part("encoding"))
        return cls(document.get("item_id", str), document.get("index_seq", int), encoding, created)


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """An item as it stands.

    Attributes:
        index_seq: number of its latest record, for If-Match; 0 where only the model knows it.
        modalities: name → features (d_m,) float32; None where they were not asked for.
    """

    item_id: str
    title: str | None
    categories: tuple[str, ...]
    attributes: Mapping[str, Any]
    available: bool
    hidden: bool
    expires_at: datetime | None
    index_seq: int
    encoding: Encoding
    modalities: Mapping[str, "array[float]"] | None = None

    @classmethod
    def read(cls, document: Document) -> "CatalogItem":
        """Reads one."""
        features = document.maybe("modalities", dict)
        return cls(
            item_id=document.get("item_id", str),
            title=document.maybe("title", str),
            categories=document.texts("categories"),
            attributes=document.get("attributes", dict),
            available=document.get("available", bool),
            hidden=document.get("hidden", bool),
            expires_at=_time(document.maybe("expires_at", str)),
            index_seq=document.get("index_seq", int),
            encoding=Encoding.read(document.part("encoding")),
            modalities=None if features is None else _vectors(Document(features), features),
        )

    @property
    def etag(self) -> str:
        """Its entity tag: names this very state to ``if_match`` and ``if_none_match``.

        That is its latest record, or the model version where only that knows the item.
        """
        return f'"{self.index_seq}"' if self.index_seq else f'"0-{self.encoding.model_version}"'

    def as_item(self) -> Item:
        """The item as it can be written.

        Raises:
            ValueError: its features were not asked for; written without them it would lose them.
        """
        if self.modalities is None:
            raise ValueError(f"expected the features of item {self.item_id!r}: ask for them with features=True")
        return Item(
            self.item_id,
            self.modalities,
            self.title,
            self.categories,
            self.attributes,
            available=self.available,
            hidden=self.hidden,
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class ItemPage:
    """A piece of the catalogue; it may be short, or empty, before the last, whose ``next_cursor`` is None."""

    items: tuple[CatalogItem, ...]
    next_cursor: str | None

    @classmethod
    def read(cls, document: Document) -> "ItemPage":
        """Reads one."""
        return cls(tuple(map(CatalogItem.read, document.parts("items"))), document.maybe("next_cursor", str))


def _vectors(document: Document, names: Iterable[str]) -> dict[str, "array[float]"]:
    return {name: unpacked(document.part(name).get("embedding_b64", str)) for name in names}


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError as exc:
        raise Malformed(f"expected a time, found {text!r}") from exc


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item among many.

    Attributes:
        item_id: as it was sent; None where there is no telling.
        status: what a request for this item alone would have answered.
        error: why it was not written; None where it was.
        line: its place in what was loaded, from 1; None in an answer to ``put_items``.
    """

    item_id: str | None
    status: int
    index_seq: int | None
    encoding: Encoding | None
    error: Problem | None
    line: int | None = None

    @classmethod
    def read(cls, document: Document, before: int = 0) -> "Result":
        """Reads one; ``before`` lines had been sent in earlier requests."""
        line = document.maybe("line", int)
        return cls(
            item_id=document.maybe("item_id", str),
            status=document.get("status", int),
            index_seq=document.maybe("index_seq", int),
            encoding=Encoding.read(document.part("encoding")) if "encoding" in document else None,
            error=problem_of(document.part("error")) if "error" in document else None,
            line=None if line is None else before + line,
        )


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What became of many items, in their order."""

    results: tuple[Result, ...]
    written: int
    failed: int

    @classmethod
    def read(cls, document: Document) -> "BatchAnswer":
        """Reads one."""
        results = tuple(Result.read(part) for part in document.parts("results"))
        return cls(results, document.get("written", int), document.get("failed", int))
