"""Every port in plain Python: for tests, for small installations without Redis, and as the meaning of the others."""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

import numpy as np

from service.adapters.ranking import best, exact_scores
from service.domain import Encoding, Entry, EraseUser, Interact, Matrix, ModelIdentity, Record, Vector, item_of
from service.errors import ItemMoved, StorageUnavailable
from service.queries import Hits, IndexState, Mark, Query


class MemoryIndex:
    """Brute force over a dict: what any index must answer."""

    def __init__(self, item_ids: Iterable[str], vectors: Matrix) -> None:
        self._d = vectors.shape[1]
        self._vectors: dict[str, Vector] = {}
        self._lock = threading.Lock()
        self._ids = list(dict.fromkeys(item_ids))  # by slot; those that came later follow
        self._slots = {item_id: slot for slot, item_id in enumerate(self._ids)}
        self.upsert(self._ids, vectors)

    def upsert(self, item_ids: Sequence[str], vectors: Matrix) -> None:
        """Adds or replaces items."""
        if vectors.shape != (len(item_ids), self._d):
            raise ValueError(f"expected vectors {(len(item_ids), self._d)}, found {vectors.shape}")
        with self._lock:
            for item_id in item_ids:
                if item_id not in self._slots:
                    self._slots[item_id] = len(self._ids)
                    self._ids.append(item_id)
            self._vectors.update(zip(item_ids, np.array(vectors, dtype=np.float32), strict=True))

    def remove(self, item_ids: Collection[str]) -> None:
        """Removes items; unknown ids are ignored."""
        with self._lock:
            for item_id in item_ids:
                self._vectors.pop(item_id, None)

    def search(
        self, query: Vector, k: int, *, exclude: Collection[str] = (), allow: Collection[str] | None = None
    ) -> Hits:
        """The k best items by inner product, ties by id."""
        excluded = frozenset(exclude)
        allowed = None if allow is None else frozenset(allow)
        with self._lock:
            rows = {
                item_id: vector
                for item_id, vector in self._vectors.items()
                if item_id not in excluded and (allowed is None or item_id in allowed)
            }
        if not rows or k < 1:
            return Hits([], [], self._names)
        found = best(list(rows), exact_scores(np.stack(list(rows.values())), query), k)
        return Hits([self._slots[hit.item_id] for hit in found], [hit.score for hit in found], self._names)

    def search_many(self, queries: Sequence[Query]) -> list[Hits]:
        """One after the other."""
        return [
            self.search(
                query.vector,
                query.k,
                exclude=self._excluded(query),
                allow=self._allowed(query),
            )
            for query in queries
        ]

    def recall(self, query: Query) -> None:
        """Nothing is remembered."""

    def holds(self, query: Query, hits: Hits, since: Mark) -> None:
        """Nobody looks at what was written since."""

    @property
    def healthy(self) -> bool:
        """Nothing can fail."""
        return True

    @property
    def state(self) -> IndexState:
        """One segment, in which nothing is ever gone."""
        return IndexState(len(self))

    def _names(self, slots: Sequence[int]) -> list[str]:
        return [self._ids[slot] for slot in slots]

    def _excluded(self, query: Query) -> set[str]:
        rows = [] if query.exclude_rows is None else query.exclude_rows.tolist()
        return {*query.exclude, *(self._ids[row] for row in rows)}

    def _allowed(self, query: Query) -> set[str] | None:
        if not query.restricted:
            return None
        rows = [] if query.allow_rows is None else query.allow_rows.tolist()
        return {*(query.allow or ()), *(self._ids[row] for row in rows)}

    def __len__(self) -> int:
        return len(self._vectors)


class MemoryJournal:
    """A journal that forgets with the process."""

    def __init__(self) -> None:
        self._identity = uuid.uuid4().hex
        self._records: list[Record] = []
        self._last_seq = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def identity(self) -> str:
        """A random name made with the journal."""
        return self._identity

    def common(self, identity: str) -> int | None:
        """Nothing is shared with other journals."""
        return None if identity == self._identity else 0

    def append(self, entry: Entry, *, expected: int | None = None) -> Future[Record]:
        """Writes an entry at once."""
        future: Future[Record] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(StorageUnavailable("the journal is closed"))
                return future
            moved = self._moved(entry, expected)
            record = None if moved else self._known(entry) or self._write(entry)
        if record:
            future.set_result(record)
        else:
            future.set_exception(moved)
        return future

    def append_all(
        self, entries: Sequence[tuple[Entry, int | None]]
    ) -> Future[list[Record | ItemMoved | StorageUnavailable]]:
        """Writes entries one by one, at once."""
        outcomes: list[Record | ItemMoved | StorageUnavailable] = []
        for entry, expected in entries:
            try:
                outcomes.append(self.append(entry, expected=expected).result())
            except (ItemMoved, StorageUnavailable) as exc:
                outcomes.append(exc)
        future: Future[list[Record | ItemMoved | StorageUnavailable]] = Future()
        future.set_result(outcomes)
        return future

    def _moved(self, entry: Entry, expected: int | None) -> ItemMoved | None:
        item_id = item_of(entry)
        if expected is None or item_id is None:
            return None
        seqs = [record.seq for record in self._records if item_of(record.entry) == item_id]
        return None if max(seqs, default=0) == expected else ItemMoved(item_id, max(seqs, default=0))

    def _known(self, entry: Entry) -> Record | None:
        if not isinstance(entry, Interact) or entry.event_id is None:
            return None
        same = (r for r in self._records if isinstance(r.entry, Interact) and r.entry.event_id == entry.event_id)
        return next((record._replace(repeated=True) for record in same), None)

    def _write(self, entry: Entry) -> Record:
        if isinstance(entry, EraseUser):
            mine = [r for r in self._records if isinstance(r.entry, Interact) and r.entry.user_id == entry.user_id]
            self._records = [record for record in self._records if record not in mine]
        self._last_seq += 1
        record = Record(self._last_seq, datetime.now(UTC), entry)
        self._records.append(record)
        return record

    def read(self, after: int = 0) -> Iterator[Record]:
        """All records with ``seq > after``, in order."""
        with self._lock:
            return iter([record for record in self._records if record.seq > after])

    def read_others(self, after: int) -> Iterator[Record]:  # noqa: ARG002 - of every journal
        """Nothing: nobody else can write here."""
        return iter(())

    def latest(self, after: int = 0) -> Iterator[Record]:
        """The latest record of every item, ordered by ``seq``."""
        latest: dict[str, Record] = {}
        for record in self.read():
            item_id = item_of(record.entry)
            if item_id is not None:
                latest[item_id] = record
        later = [record for record in latest.values() if record.seq > after]
        return iter(sorted(later, key=lambda record: record.seq))

    def changed(self, after: int) -> dict[str, int]:
        """The items written since ``after``, with the ``seq`` of their latest records."""
        named = ((item_of(record.entry), record.seq) for record in self.latest(after))
        return {item_id: seq for item_id, seq in named if item_id is not None}

    def find(self, item_id: str) -> Record | None:
        """The latest record of an item."""
        return next((record for record in self.latest() if item_of(record.entry) == item_id), None)

    def history(self, user_id: str, limit: int) -> list[str]:
        """The items of a user's interactions, each once, by the latest with it, oldest first; the latest of them."""
        entries = [record.entry for record in self.read()]
        mine = [entry.item_id for entry in entries if isinstance(entry, Interact) and entry.user_id == user_id]
        return [*dict.fromkeys(reversed(mine))][:limit][::-1]

    def users(self) -> Iterator[str]:
        """Everybody about whom there is a record."""
        return iter({r.entry.user_id for r in self.read() if isinstance(r.entry, Interact | EraseUser)})

    def users_of_others(self, after: int) -> set[str]:  # noqa: ARG002 - of every journal
        """Nobody: nobody else can write here."""
        return set()

    def compact(self) -> int:
        """Removes item records that a later one has made void."""
        with self._lock:
            latest = {item_of(record.entry): record.seq for record in self._records}
            kept = [r for r in self._records if item_of(r.entry) is None or latest[item_of(r.entry)] == r.seq]
            removed = len(self._records) - len(kept)
            self._records = kept
        return removed

    def last_seq(self) -> int:
        """The highest ``seq``; 0 for an empty journal."""
        return self._last_seq

    def close(self) -> None:
        """Refuses writes from now on."""
        with self._lock:
            self._closed = True


class MemoryCache:
    """The most recently used encodings, up to a bound."""

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._encodings: OrderedDict[tuple[ModelIdentity, str, int], Encoding] = OrderedDict()

    async def get_many(self, model: ModelIdentity, keys: Sequence[tuple[str, int]]) -> list[Encoding | None]:
        """The cached encodings of (item_id, seq) pairs; None for each miss."""
        found = [self._encodings.get((model, *key)) for key in keys]
        for key, encoding in zip(keys, found, strict=True):
            if encoding:
                self._encodings.move_to_end((model, *key))
        return found

    async def put_many(self, model: ModelIdentity, encodings: Mapping[tuple[str, int], Encoding]) -> None:
        """Stores encodings; the least recently used give way."""
        for (item_id, seq), encoding in encodings.items():
            key = (model, item_id, seq)
            self._encodings[key] = encoding
            self._encodings.move_to_end(key)
        while len(self._encodings) > self._max_items:
            self._encodings.popitem(last=False)

    async def ping(self) -> bool:
        """Always True."""
        return True

    @property
    def healthy(self) -> bool:
        """Always True."""
        return True

    async def close(self) -> None:
        """Forgets everything."""
        self._encodings.clear()
