"""Exporting the catalogue to a file, page by page, so that an export that was cut off can go on where it stopped."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from i3rec_client.bodies import encoded, item_content
from i3rec_client.client import Client
from i3rec_client.documents import Document, Malformed
from i3rec_client.errors import I3RecError
from i3rec_client.item_answers import CatalogItem, ItemPage
from i3rec_client.progress import UnreadableProgress, write_whole


class ExportStopped(I3RecError):
    """The export cannot go on where it stopped."""


@dataclass(frozen=True, slots=True)
class Exported:
    """How far an export is.

    Attributes:
        items: written, counting again those that came again.
        size: of what is written, in bytes.
        cursor: asks for the next page; None at the beginning and in the end.
        features: whether the items' features are written.
        models: versions that answered, in their order.
    """

    items: int = 0
    size: int = 0
    cursor: str | None = None
    features: bool = False
    models: tuple[str, ...] = ()


class Export:
    """The catalogue's way into a file of one item a line, as an import takes it.

    Until the export is through the lines stand in ``<file>.part``, and in ``<file>.progress`` how many of its bytes
    count and which page is next. The file itself appears, or is replaced, in one step when all is there.

    Args:
        client: of the service.
        path: of the file.
        features: whether to write the items' features; without them an import of the file takes features away.
        page: most items in a request; None = as many as the service likes.
        on_progress: is told after each page how far the export is.
    """

    def __init__(
        self,
        client: Client,
        path: Path,
        *,
        features: bool = False,
        page: int | None = None,
        on_progress: Callable[[Exported], object] = lambda _: None,
    ) -> None:
        self._client = client
        self._path = path
        self._features = features
        self._page = page
        self._on_progress = on_progress
        self._part = path.with_name(path.name + ".part")
        self._noted = path.with_name(path.name + ".progress")

    def run(self, *, resume: bool = False) -> Exported:
        """Exports the catalogue; with ``resume`` what an export that was cut off has left of it.

        Raises:
            ExportStopped: that export was another one, or its lines are lost.
            UnreadableProgress: the note of how far it is was not written by an export.
            ApiError: the service refuses.
            TransportError: the service does not answer.
            OSError: a file cannot be written.
        """
        done = self._noted_so_far() if resume else None
        if done is None:
            self._noted.unlink(missing_ok=True)  # before the lines that it counts are gone
        with self._part.open("r+b" if done else "wb") as file:
            done = self._copied(file, done or Exported(features=self._features))
        self._part.replace(self._path)
        self._noted.unlink(missing_ok=True)
        return done

    def _noted_so_far(self) -> Exported | None:
        """How far the export is that was cut off; None where there is none."""
        try:
            document = Document.parse(self._noted.read_bytes())
            counts, texts = (document.get("items", int), document.get("size", int)), document.texts("models")
            done = Exported(*counts, document.get("cursor", str), document.get("features", bool), texts)
            left = self._part.stat().st_size
        except FileNotFoundError:
            return None
        except Malformed as exc:
            raise UnreadableProgress(f"{self._noted}: {exc}; without --resume the export begins anew") from exc
        if done.features != self._features:
            raise ExportStopped(f"the export was begun {'with' if done.features else 'without'} --features: go on so")
        if left < done.size:
            raise ExportStopped(f"{self._part} is shorter than it was: without --resume the export begins anew")
        return done

    def _copied(self, file: BinaryIO, done: Exported) -> Exported:
        file.truncate(done.size)  # a page that was not noted comes again
        file.seek(done.size)
        while True:
            page = self._client.list_items(limit=self._page, cursor=done.cursor, features=self._features)
            done = self._written(file, page, done)
            self._on_progress(done)
            if done.cursor is None:
                return done
            write_whole(self._noted, json.dumps(asdict(done)).encode() + b"\n")

    def _written(self, file: BinaryIO, page: ItemPage, done: Exported) -> Exported:
        """Writes a page; once it returns, the page is on disk."""
        file.writelines(map(_line, page.items))
        file.flush()
        os.fsync(file.fileno())
        models = dict.fromkeys((*done.models, *(item.encoding.model_version for item in page.items)))
        items = done.items + len(page.items)
        return replace(done, items=items, size=file.tell(), cursor=page.next_cursor, models=tuple(models))


def _line(item: CatalogItem) -> bytes:
    if item.modalities is not None:
        return encoded(item_content(item.as_item())) + b"\n"
    content = item_content(replace(item, modalities={}).as_item())
    del content["modalities"]
    return encoded(content) + b"\n"
