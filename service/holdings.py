"""What the catalogue holds of each item under a model version: as the bundle says, or the journal where it is later."""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from model_store import Bundle
from service.coverage import Coverage
from service.domain import CatalogItem, Encoding, EncodingReport, Item, Online, PutItem, Record, Vector
from service.facets import Facets
from service.newcomers import Newcomers
from service.online import Standing, digest_of, online, since_of
from service.queries import Hit, Hits
from service.trained import (
    TrainedFacets,
    categories_in,
    identity_of,
    rows_by_id,
    rows_by_popularity,
    same_features,
    trained_features,
    trained_item,
    trained_report,
)

_Value = tuple[str, str | int | float | bool]  # an item, and what it has of one attribute


class Holdings:
    """The items of a bundle and those written online since. One writer at a time, with ``lock``; readers never wait.

    Args:
        bundle: the model version.
        watermark: last ``seq`` of *this* journal that the training data contains.
    """

    def __init__(self, bundle: Bundle, watermark: int) -> None:
        self.bundle = bundle
        self.identity = identity_of(bundle)
        self.watermark = watermark
        self.newcomers = Newcomers()
        self.coverage = Coverage(bundle.items)
        self.lock = threading.Lock()
        # Weakly, so that whoever lets go of a version has its memory back at once: a collection comes seldom.
        me = ref(self)
        self._trained = TrainedFacets(bundle)
        self.facets = Facets(
            self.lock,
            lambda name: () if (it := me()) is None else it.values_of(name),
            bundle.item_columns,
            self._trained,
        )
        self._online: dict[str, Online] = {}
        self._online_items = 0
        self._n = len(bundle.items)
        self._spoken_of: set[int] = set()  # rows of the bundle's items that the journal speaks of
        self._titles, self._categories = bundle.column("title"), bundle.column("categories")
        self._by_id = rows_by_id(bundle)
        self._by_popularity = rows_by_popularity(bundle, self._by_id)

    @property
    def version(self) -> str:
        """The model version."""
        return self.bundle.version

    @property
    def online_items(self) -> int:
        """How many items were written online and not deleted."""
        return self._online_items

    def needs_encoding(self, record: Record) -> bool:
        """Whether a record can only be applied together with an encoding."""
        entry = record.entry
        if not isinstance(entry, PutItem):
            return False
        return since_of(record) > self.watermark or entry.item.item_id not in self.bundle.items

    def note(self, item_id: str, record: Record, encoding: Encoding | None) -> bool:
        """Takes a record down, if it is later than what is known of its item; returns whether it is.

        Raises:
            ValueError: its encoding is missing, or of another version.
        """
        before = self._online.get(item_id)
        if before and record.seq <= before.seq:
            return False
        if not self.needs_encoding(record):
            encoding = None
        elif encoding is None or encoding.model_version != self.version:
            raise ValueError(f"record {record.seq}: expected an encoding by {self.version}, found {encoding}")
        self._hold(item_id, online(record, encoding))
        return True

    def _hold(self, item_id: str, after: Online) -> None:
        before, row = self._online.get(item_id), self.bundle.items.get(item_id)
        if before is None and row is not None:
            self._spoken_of.add(row)
            self._trained.leave(row)
        self.facets.move(before.item if before else None, after.item)
        self._online[item_id] = after
        self._online_items += (after.item is not None) - (before is not None and before.item is not None)
        if after.item is None:
            self.newcomers.remove(item_id)
        elif row is None:
            self.newcomers.put(item_id, after.seq)

    def known(self) -> dict[str, Online]:
        """What the journal says of each item, as of one moment."""
        with self.lock:
            return self._online.copy()

    def latest_seq(self, item_id: str) -> int:
        """The ``seq`` of the latest record of an item, its deletion included; 0 where it has none."""
        state = self._online.get(item_id)
        return state.seq if state else 0

    def standing(self, item: Item, before: Item | None = None) -> Standing | None:
        """What holds already of an item that is to be put; None where its features are others, or it is new.

        Args:
            item: as it is to be.
            before: as it is, with its features (see ``described``), where that is known.
        """
        state = self._online.get(item.item_id)
        if state and state.item is None:
            return None
        same = before is not None and same_features(before.modalities, item.modalities)
        if not (same or self._is_repeated(item, state)):
            return None
        return Standing(state.since, state.encoding, state.seq) if state else Standing(0, None, 0)

    def _is_repeated(self, item: Item, state: Online | None) -> bool:
        """Whether an item comes with the features of its latest record, or with those it was trained with."""
        if state and state.digest == digest_of(item.modalities):
            return True
        trained = self._trained_features(item.item_id)
        return trained is not None and same_features(trained, item.modalities)

    def described(self, item: Item) -> Item:
        """An item of a record with the features that hold of it.

        Where the trained vector stands, these are the ones it was trained with, of modalities too that the record does
        not know yet; and beside them, of the record, those that it was trained without.
        """
        trained = self._trained_features(item.item_id)
        if trained is None:
            return item
        told = item.modalities
        replaced = {name for name, vector in trained.items() if not np.array_equal(vector, told.get(name, ()))}
        made_by = {name: featurizer for name, featurizer in item.made_by.items() if name not in replaced}
        return item._replace(modalities={**told, **trained}, made_by=made_by)

    def _trained_features(self, item_id: str) -> dict[str, Vector] | None:
        """What an item was trained with; None where its trained vector does not stand."""
        row = self.bundle.items.get(item_id)
        return None if row is None or self.stands_by_content(item_id) else trained_features(self.bundle, row)

    def values_of(self, attribute: str) -> Iterator[_Value]:
        """The items written online that have an attribute, with its value; for ``Facets``."""
        for item_id, state in self._online.items():
            if state.item and attribute in state.item.attributes:
                yield item_id, state.item.attributes[attribute]

    def __contains__(self, item_id: str) -> bool:
        state = self._online.get(item_id)
        return state.item is not None if state else item_id in self.bundle.items

    def visible(self, item_id: str, now: datetime) -> bool:
        """Whether an item exists and may be shown at ``now``."""
        state = self._online.get(item_id)
        if state is None:
            return item_id in self.bundle.items
        expires_at = state.item.expires_at if state.item else None
        return state.listed and (expires_at is None or now < expires_at)

    def title(self, item_id: str) -> str | None:
        """The title of an item, if it has one."""
        state = self._online.get(item_id)
        if state:
            return state.item.title if state.item else None
        row = self.bundle.items.get(item_id)
        return None if row is None or self._titles is None else self._titles[row] or None

    def numbered(self, hits: Sequence[Hit]) -> Hits:
        """Hits of which only the ids are known, with numbers as an index would give them: rows, and others beyond."""
        row_of, n = self.bundle.items.get, self._n
        ids = {
            n + place if (row := row_of(hit.item_id)) is None else row: hit.item_id for place, hit in enumerate(hits)
        }
        return Hits(list(ids), [hit.score for hit in hits], lambda slots: [ids[slot] for slot in slots])

    def trained_titles(self, rows: Sequence[int]) -> list[str | None]:
        """The titles that the bundle gives its items."""
        return [None] * len(rows) if self._titles is None else [title or None for title in self._titles.take(rows)]

    def written_among(self, slots: Sequence[int]) -> list[int]:
        """The places of what the index has found of which a record speaks; of all others all holds as trained.

        Args:
            slots: theirs in the index, which are their rows in the bundle where it has them.
        """
        n, spoken_of = self._n, self._spoken_of
        if spoken_of.isdisjoint(slots) and (not slots or max(slots) < n):
            return []
        return [place for place, slot in enumerate(slots) if slot >= n or slot in spoken_of]

    def spoken_of(self, hits: Hits) -> dict[str, int]:
        """Those of which a record speaks, each with the ``seq`` of the latest."""
        slots = hits.slots
        places = self.written_among(slots)
        if not places:
            return {}
        return {item_id: self.latest_seq(item_id) for item_id in hits.ids_of([slots[place] for place in places])}

    def new_among(self, hits: Hits) -> list[str]:
        """Those that the model was not trained on."""
        if max(hits.slots, default=-1) < self._n:
            return []
        return hits.ids_of([slot for slot in hits.slots if slot >= self._n])

    def get(self, item_id: str) -> CatalogItem | None:
        """An item as it stands, shown or not; None where there is none."""
        state = self._online.get(item_id)
        if state is None:
            row = self.bundle.items.get(item_id)
            found = None if row is None else trained_item(self.bundle, row)
            return CatalogItem(found, trained_report(self.bundle, row), 0) if found and row is not None else None
        if state.item is None:
            return None
        return CatalogItem(state.item, self.report(item_id, state.encoding), state.seq)

    def report(self, item_id: str, encoding: Encoding | None) -> EncodingReport:
        """What is told of an item's encoding; None stands for the vector it was trained to."""
        if encoding is None:
            return trained_report(self.bundle, self.bundle.items.row(item_id))
        return EncodingReport(encoding.present, encoding.missing, encoding.confidence, encoding.model_version)

    def vector(self, item_id: str) -> Vector | None:
        """The vector an item is found by, (d,) float32; None where there is no such item."""
        state = self._online.get(item_id)
        if state and state.encoding:
            return state.encoding.embedding
        row = self.bundle.items.get(item_id)
        gone = state is not None and state.item is None
        return None if gone or row is None else np.array(self.bundle.item_embeddings[row])

    def stands_by_content(self, item_id: str) -> bool:
        """Whether an item's vector is what the encoder made of its features since it was written online."""
        state = self._online.get(item_id)
        return state is not None and state.item is not None and state.encoding is not None

    def categories(self, item_id: str) -> tuple[str, ...]:
        """The categories of an item; none where there is no such item."""
        state = self._online.get(item_id)
        if state:
            return state.item.categories if state.item else ()
        row = self.bundle.items.get(item_id)
        return () if row is None or self._categories is None else categories_in(self._categories[row])

    def tells_of_users(self, item_id: str) -> bool:
        """Whether an item has a ``history_row``; does not read it."""
        if item_id in self.bundle.items:
            return self.bundle.history_embeddings is not None
        state = self._online.get(item_id)
        return state is not None and state.encoding is not None and state.encoding.history_embedding is not None

    def history_row(self, item_id: str) -> Vector | None:
        """What an item adds to the histories it stands in, (d,) float32; None where it adds nothing.

        Items of the bundle add what they do in training, also when they were deleted or described anew since: what a
        user liked does not change with it.
        """
        row = self.bundle.items.get(item_id)
        if row is not None:
            table = self.bundle.history_embeddings
            return None if table is None else np.array(table[row])
        state = self._online.get(item_id)
        return state.encoding.history_embedding if state and state.encoding else None

    def popular(self, among: NDArray[np.bool_] | None = None) -> Iterator[tuple[str, float]]:
        """Items of the bundle with their popularity, highest first, ties by id; shown or not.

        Args:
            among: (n_items,) which of them; None = all.
        """
        rows = self._by_popularity
        for row in rows if among is None else rows[among[rows]]:
            yield self.bundle.items.id(int(row)), float(self.bundle.popularity[row])

    def untouched(self, after: str) -> Iterator[tuple[str, int]]:
        """Items the journal never spoke of, with their rows, by id, from the first one after ``after``."""
        id_of = self.bundle.items.id
        start = bisect_right(self._by_id, after, key=lambda row: id_of(int(row)))
        rows = map(int, self._by_id[start:])
        return ((id_of(row), row) for row in rows if id_of(row) not in self._online)
