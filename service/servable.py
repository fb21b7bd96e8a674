"""Everything of one model version."""

import heapq
import threading
from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from model_store import Bundle
from service.domain import CatalogItem, Encoding, EncodingReport, Item, PutItem, Record, Vector, item_of
from service.ports import Encoder, VectorIndex

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Online:
    """What the journal says about one item; ``item`` is None once it is deleted.

    ``encoding`` is None where the vector that holds is the bundle's.
    """

    seq: int
    item: Item | None
    encoding: Encoding | None

    @property
    def listed(self) -> bool:
        """Whether its owner wants it shown, whatever the time."""
        return self.item is not None and self.item.available and not self.item.hidden


class Servable:
    """A bundle, its encoder, its index, and the items written online, all of the same model version.

    Records may be applied from any thread and in any order: one that is older than what is known of its item is
    ignored. A put up to ``watermark`` is part of what the model was trained on: if the bundle has the item, the trained
    vector stands and only the description is taken from the record. Deletes always win over the bundle's rows.

    Args:
        bundle: the model version.
        encoder: of the same version.
        index: holds all items of the bundle, and nothing else.
        watermark: last ``seq`` of *this* journal that the training data contains.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder, index: VectorIndex, *, watermark: int = 0) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self.index = index
        self.watermark = watermark
        self._lock = threading.Lock()
        self._online: dict[str, _Online] = {}
        self._displaced: set[str] = set()  # items of the bundle whose own vector is not in the index now
        self._new: list[tuple[int, str]] = []  # (seq, id) of online items the bundle lacks, ascending
        self._expiries: list[tuple[datetime, int, str]] = []  # heap
        self._next_expiry = _NEVER
        self._index_seq = 0
        self._online_items = 0
        self._by_popularity = _by_popularity(bundle)
        self._by_category = _by_category(bundle)

    @property
    def version(self) -> str:
        """The model version."""
        return self.bundle.version

    @property
    def index_seq(self) -> int:
        """The highest ``seq`` applied."""
        return self._index_seq

    @property
    def online_items(self) -> int:
        """How many items were written online and not deleted."""
        return self._online_items

    def needs_encoding(self, record: Record) -> bool:
        """Whether a record can only be applied together with an encoding."""
        entry = record.entry
        if not isinstance(entry, PutItem):
            return False
        return record.seq > self.watermark or entry.item.item_id not in self.bundle.items

    def apply(self, record: Record, encoding: Encoding | None = None) -> bool:
        """Makes one record hold; searches that start afterwards see it. Returns whether the item existed before."""
        return self.apply_many([(record, encoding)])[0]

    def apply_many(self, changes: Sequence[tuple[Record, Encoding | None]]) -> list[bool]:
        """Makes records hold; returns for each whether its item existed just before.

        Records about users change nothing here but the ``seq`` that is known.
        """
        with self._lock:
            existed, touched = [], set()
            for record, encoding in changes:
                item_id = item_of(record.entry)
                existed.append(item_id is not None and item_id in self)
                if item_id is not None and self._note(item_id, record, encoding):
                    touched.add(item_id)
                self._index_seq = max(self._index_seq, record.seq)
            self._update_index(sorted(touched))
        return existed

    def _note(self, item_id: str, record: Record, encoding: Encoding | None) -> bool:
        before = self._online.get(item_id)
        if before and record.seq <= before.seq:
            return False
        item = replace(record.entry.item, modalities={}) if isinstance(record.entry, PutItem) else None
        if not self.needs_encoding(record):
            encoding = None
        elif encoding is None or encoding.model_version != self.version:
            raise ValueError(f"record {record.seq}: expected an encoding by {self.version}, found {encoding}")
        had = self.categories(item_id)
        after = self._online[item_id] = _Online(record.seq, item, encoding)
        self._file(item_id, had, item)
        self._online_items += (after.item is not None) - (before is not None and before.item is not None)
        if item_id not in self.bundle.items:
            if before and before.item:
                del self._new[bisect_left(self._new, (before.seq, item_id))]
            if item:
                insort(self._new, (record.seq, item_id))
        if item and item.expires_at:
            heapq.heappush(self._expiries, (item.expires_at, record.seq, item_id))
            self._next_expiry = self._expiries[0][0]
        return True

    def _file(self, item_id: str, had: Sequence[str], item: Item | None) -> None:
        """Moves an item from the categories it had to those it has."""
        for category in had:
            self._by_category[category].discard(item_id)
        for category in item.categories if item else ():
            self._by_category.setdefault(category, set()).add(item_id)

    def in_categories(self, categories: Collection[str]) -> frozenset[str]:
        """Ids of the items that are of one of these categories at least; shown or not."""
        # Each set is copied in one atomic step: searches must not wait for a writer here.
        copies = [frozenset(self._by_category.get(category, ())) for category in categories]
        return copies[0] if len(copies) == 1 else frozenset().union(*copies)

    def _update_index(self, touched: Sequence[str]) -> None:
        removed = [item_id for item_id in touched if not self._online[item_id].listed]
        self._remove(removed)
        ids, vectors = [], []
        for item_id in touched:
            state = self._online[item_id]
            if not state.listed or (state.encoding is None and item_id not in self._displaced):
                continue
            ids.append(item_id)
            if state.encoding:
                self._displace([item_id])
                vectors.append(state.encoding.embedding)
            else:
                self._displaced.discard(item_id)
                vectors.append(self.bundle.item_embeddings[self.bundle.items.row(item_id)])
        if ids:
            self.index.upsert(ids, np.stack(vectors))

    def _remove(self, item_ids: Sequence[str]) -> None:
        if item_ids:
            self.index.remove(item_ids)
            self._displace(item_ids)

    def _displace(self, item_ids: Sequence[str]) -> None:
        self._displaced.update(item_id for item_id in item_ids if item_id in self.bundle.items)

    def expire(self, now: datetime) -> None:
        """Takes out of the index what has expired by ``now``."""
        if now < self._next_expiry:  # read without the lock: searches must not wait for a writer here
            return
        with self._lock:
            gone = []
            while self._expiries and self._expiries[0][0] <= now:
                _, seq, item_id = heapq.heappop(self._expiries)
                if self._online[item_id].seq == seq:
                    gone.append(item_id)
            self._next_expiry = self._expiries[0][0] if self._expiries else _NEVER
            self._remove(gone)

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
        return None if row is None else self.bundle.metadata(row).get("title")

    def get(self, item_id: str) -> CatalogItem | None:
        """An item as it stands, shown or not; None where there is none."""
        state = self._online.get(item_id)
        if state is None:
            row = self.bundle.items.get(item_id)
            return None if row is None else CatalogItem(_trained_item(self.bundle, row), self._trained_report(row), 0)
        if state.item is None:
            return None
        report = report_of(state.encoding) if state.encoding else self._trained_report(self.bundle.items.row(item_id))
        return CatalogItem(state.item, report, state.seq)

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
        return () if row is None else _trained_item(self.bundle, row).categories

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

    def _trained_report(self, row: int) -> EncodingReport:
        names = self.bundle.manifest.modality_names
        present = tuple(name for name in names if not np.isnan(self.bundle.features[name][row, :1]).any())
        missing = tuple(name for name in names if name not in present)
        return EncodingReport(present, missing, None, self.version)

    def popular(self) -> Iterator[tuple[str, float]]:
        """Items of the bundle with their popularity, highest first, ties by id; shown or not."""
        for row in self._by_popularity:
            yield self.bundle.items.id(int(row)), float(self.bundle.popularity[row])

    def newest(self) -> Iterator[str]:
        """Online items the bundle lacks, the latest written first; shown or not."""
        # list.copy() is one atomic step: searches must not wait for a writer here.
        return (item_id for _, item_id in reversed(self._new.copy()))


def report_of(encoding: Encoding) -> EncodingReport:
    """What an item's owner is told of an encoding."""
    return EncodingReport(encoding.present, encoding.missing, encoding.confidence, encoding.model_version)


def _trained_item(bundle: Bundle, row: int) -> Item:
    columns = bundle.metadata(row)
    title = columns.pop("title", None)
    categories = tuple(name for name in columns.pop("categories", "").split("|") if name)
    return Item(bundle.items.id(row), title=title, categories=categories, attributes=columns)


def _by_category(bundle: Bundle) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    if "categories" not in bundle.item_columns:
        return found
    for row in range(len(bundle.items)):
        for category in _trained_item(bundle, row).categories:
            found.setdefault(category, set()).add(bundle.items.id(row))
    return found


def _by_popularity(bundle: Bundle) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    ids = list(bundle.items)
    by_id = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    order = np.argsort(-bundle.popularity[by_id], kind="stable")
    return by_id[order]
