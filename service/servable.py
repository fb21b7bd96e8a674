"""Everything of one model version."""

import heapq
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b

import numpy as np

from model_store import Bundle
from service.domain import CatalogItem, Encoding, EncodingReport, Item, PutItem, Record, Vector, item_of
from service.facets import Facets
from service.newcomers import Newcomers
from service.ports import Encoder, Featurizer, VectorIndex
from service.trained import (
    Rows,
    rows_by_id,
    rows_by_popularity,
    same_features,
    trained_features,
    trained_item,
    trained_report,
)

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds of an item already, as long as its features stay what they are.

    Attributes:
        since: see ``PutItem``.
        encoding: what they were encoded to; None where the vector that holds is the bundle's.
    """

    since: int
    encoding: Encoding | None


@dataclass(frozen=True, slots=True)
class _Online:
    """What the journal says about one item; ``item`` is None once it is deleted.

    ``encoding`` is None where the vector that holds is the bundle's; ``digest`` stands for the features.
    """

    seq: int
    item: Item | None
    encoding: Encoding | None
    since: int
    digest: bytes

    @property
    def listed(self) -> bool:
        """Whether its owner wants it shown, whatever the time."""
        return self.item is not None and self.item.available and not self.item.hidden


class Servable:
    """A bundle, its encoder, its index, and the items written online, all of the same model version.

    Records may be applied from any thread and in any order: one that is older than what is known of its item is
    ignored. Features up to ``watermark`` are part of what the model was trained on: if the bundle has the item and its
    features are no later, the trained vector stands and only the description is taken from the record. Deletes always
    win over the bundle's rows.

    Args:
        bundle: the model version.
        encoder: of the same version.
        index: holds all items of the bundle, and nothing else.
        featurizer: of the same version; None where the bundle has none.
        watermark: last ``seq`` of *this* journal that the training data contains.
    """

    def __init__(
        self,
        bundle: Bundle,
        encoder: Encoder,
        index: VectorIndex,
        *,
        featurizer: Featurizer | None = None,
        watermark: int = 0,
    ) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self.featurizer = featurizer
        self.index = index
        self.watermark = watermark
        self._lock = threading.Lock()
        self._online: dict[str, _Online] = {}
        self._displaced: set[str] = set()  # items of the bundle whose own vector is not in the index now
        self.newcomers = Newcomers()
        self._expiries: list[tuple[datetime, int, str]] = []  # heap
        self._next_expiry = _NEVER
        self.followed = 0  # everything up to this seq is applied, whoever wrote it
        self._index_seq = 0
        self._online_items = 0
        self._by_id = rows_by_id(bundle)
        self._by_popularity = rows_by_popularity(bundle, self._by_id)
        self.facets = Facets(self._lock, self._values)
        if "categories" in bundle.item_columns:
            for row in range(len(bundle.items)):
                self.facets.file(bundle.items.id(row), trained_item(bundle, row).categories)

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
        return _since(record) > self.watermark or entry.item.item_id not in self.bundle.items

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
        item = record.entry.item if isinstance(record.entry, PutItem) else None
        if not self.needs_encoding(record):
            encoding = None
        elif encoding is None or encoding.model_version != self.version:
            raise ValueError(f"record {record.seq}: expected an encoding by {self.version}, found {encoding}")
        digest = _digest(item.modalities) if item else b""
        after = _Online(record.seq, item and replace(item, modalities={}, made_by={}), encoding, _since(record), digest)
        self.facets.move(before.item if before else self._trained_item(item_id), after.item)
        self._online[item_id] = after
        self._online_items += (item is not None) - (before is not None and before.item is not None)
        if item is None:
            self.newcomers.remove(item_id)
        elif item_id not in self.bundle.items:
            self.newcomers.put(item_id, record.seq)
        if item and item.expires_at:
            heapq.heappush(self._expiries, (item.expires_at, record.seq, item_id))
            self._next_expiry = self._expiries[0][0]
        return True

    def latest_seq(self, item_id: str) -> int:
        """The ``seq`` of the latest record of an item, its deletion included; 0 where it has none."""
        state = self._online.get(item_id)
        return state.seq if state else 0

    def standing(self, item: Item) -> Standing | None:
        """What holds already of an item that is to be put; None where its features are others, or it is new."""
        state = self._online.get(item.item_id)
        if state is None:
            row = self.bundle.items.get(item.item_id)
            same = row is not None and same_features(trained_features(self.bundle, row), item.modalities)
            return Standing(0, None) if same else None
        same = state.item is not None and state.digest == _digest(item.modalities)
        return Standing(state.since, state.encoding) if same else None

    def _trained_item(self, item_id: str) -> Item | None:
        row = self.bundle.items.get(item_id)
        return None if row is None else trained_item(self.bundle, row)

    def _values(self, attribute: str) -> Iterator[tuple[str, str | int | float | bool]]:
        """The items that have an attribute, with its value; for ``Facets``."""
        if attribute in self.bundle.item_columns and attribute not in {"title", "categories"}:
            column = self.bundle.item_columns.index(attribute)
            for item_id, cells in zip(self.bundle.items, self.bundle.item_rows, strict=True):
                if cells[column] and item_id not in self._online:
                    yield item_id, cells[column]
        for item_id, state in self._online.items():
            if state.item and attribute in state.item.attributes:
                yield item_id, state.item.attributes[attribute]

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
        return () if row is None else trained_item(self.bundle, row).categories

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

    def popular(self) -> Iterator[tuple[str, float]]:
        """Items of the bundle with their popularity, highest first, ties by id; shown or not."""
        for row in self._by_popularity:
            yield self.bundle.items.id(int(row)), float(self.bundle.popularity[row])

    def own_rows(self) -> Rows:
        """The rows of the bundle whose items are found by their trained vectors, ascending."""
        with self._lock:
            displaced = [self.bundle.items.row(item_id) for item_id in self._displaced]
        return np.setdiff1d(np.arange(len(self.bundle.items)), displaced)

    def untouched(self, after: str) -> Iterator[tuple[str, int]]:
        """Items the journal never spoke of, with their rows, by id, from the first one after ``after``."""
        id_of = self.bundle.items.id
        start = bisect_right(self._by_id, after, key=lambda row: id_of(int(row)))
        rows = map(int, self._by_id[start:])
        return ((id_of(row), row) for row in rows if id_of(row) not in self._online)


def _since(record: Record) -> int:
    """The ``seq`` at which the features of a record became what they are."""
    since = record.entry.since if isinstance(record.entry, PutItem) else None
    return record.seq if since is None else since


def _digest(modalities: Mapping[str, Vector]) -> bytes:
    """What stands for features when they are compared."""
    digest = blake2b(digest_size=16)
    for name in sorted(modalities):
        digest.update(f"{name}\0{modalities[name].size}\0".encode())
        digest.update(np.ascontiguousarray(modalities[name], dtype=np.float32).tobytes())
    return digest.digest()
