"""Everything of one model version."""

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from model_store import Bundle
from service.domain import Encoding, Online, Record, Vector, item_of
from service.holdings import Holdings
from service.ports import Encoder, Featurizer, VectorIndex
from service.trained import Rows, mean_length, typical_length

_Expiry = tuple[datetime, int, str]  # when, of the record of this number, of this item
_NEVER = datetime.max.replace(tzinfo=UTC)
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_FEW = 64


class Servable(Holdings):
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
        super().__init__(bundle, watermark)
        self.encoder = encoder
        self.featurizer = featurizer
        self.index = index
        self.followed = 0  # everything up to this seq is applied, whoever wrote it
        self.checkpointed = 0  # everything up to this seq is part of a checkpoint
        self.changes = 0  # grows with every change of an item, once lists know of it
        self._index_seq = 0
        self._displaced: set[str] = set()  # items of the bundle whose own vector is not in the index now
        self._expiries: list[_Expiry] = []  # heap
        self._expired: list[_Expiry] = []  # what was taken out, ascending; a clock that was wrong may be set back
        self._seen_ends: memoryview[int] = memoryview(np.asarray(bundle.seen_indptr))  # type: ignore[arg-type]
        self._seen_rows = np.asarray(bundle.seen_indices)
        self._next_expiry, self._last_expiry = _NEVER, _ALWAYS

    @property
    def index_seq(self) -> int:
        """The highest ``seq`` applied."""
        return self._index_seq

    @cached_property
    def typical_lengths(self) -> tuple[float, float]:
        """How long the bundle's items are on average, and on the user side; 0 where there are none."""
        histories = self.bundle.history_embeddings
        return typical_length(self.bundle), 0.0 if histories is None else mean_length(histories)

    def user_vector(self, row: int) -> Vector:
        """The trained vector (d,) of the user in this row of the bundle; not to be written to."""
        # Every slice of a memory map costs microseconds, of a plain view of it none.
        vector: Vector = np.asarray(self.bundle.user_embeddings)[row]
        return vector

    def seen(self, row: int) -> NDArray[np.int32]:
        """Rows of the bundle's items this user had to do with in training, oldest first; not to be written to."""
        return self._seen_rows[self._seen_ends[row] : self._seen_ends[row + 1]]

    def apply(self, record: Record, encoding: Encoding | None = None) -> bool:
        """Makes one record hold; searches that start afterwards see it. Returns whether the item existed before."""
        return self.apply_many([(record, encoding)])[0]

    def apply_many(self, changes: Sequence[tuple[Record, Encoding | None]]) -> list[bool]:
        """Makes records hold; returns for each whether its item existed just before.

        Records about users change nothing here but the ``seq`` that is known.
        """
        with self.lock:
            existed, touched, latest = [], set(), self._index_seq
            for record, encoding in changes:
                item_id = item_of(record.entry)
                existed.append(item_id is not None and item_id in self)
                if item_id is not None and self.note(item_id, record, encoding):
                    touched.add(item_id)
                    self._note_expiry(item_id, record.seq)
                latest = max(latest, record.seq)
            self._update_index(sorted(touched))
            self._index_seq = latest  # only now: a list must know of what it says it knows
        return existed

    def restore(self, known: Mapping[str, Online]) -> None:
        """Makes hold what ``known()`` gave elsewhere; only where nothing was applied yet."""
        with self.lock:
            # The latest last: that is where the newcomers have them, who then need not be moved for each other.
            for item_id, state in sorted(known.items(), key=lambda pair: pair[1].seq):
                self._hold(item_id, state)
                self._note_expiry(item_id, state.seq)
            self._update_index(sorted(known))
            self._index_seq = max([self._index_seq, *(state.seq for state in known.values())])

    def _note_expiry(self, item_id: str, seq: int) -> None:
        item = self._online[item_id].item
        if item and item.expires_at:
            heapq.heappush(self._expiries, (item.expires_at, seq, item_id))
            if len(self._expiries) + len(self._expired) > 2 * len(self._online) + _FEW:
                # Most are of records that were replaced.
                self._expiries = list(filter(self._holds, self._expiries))
                self._expired = list(filter(self._holds, self._expired))
                heapq.heapify(self._expiries)
            self._next_expiry = self._expiries[0][0]

    def _update_index(self, touched: Sequence[str]) -> None:
        states = [(item_id, self._online[item_id]) for item_id in touched]
        self._remove([item_id for item_id, state in states if not state.listed])
        listed = [(item_id, state.encoding) for item_id, state in states if state.listed]
        encoded = {item_id: encoding.embedding for item_id, encoding in listed if encoding}
        trained = [item_id for item_id, encoding in listed if not encoding and item_id in self._displaced]
        self._displace(encoded)
        self._displaced.difference_update(trained)
        vectors = encoded | {
            item_id: self.bundle.item_embeddings[self.bundle.items.row(item_id)] for item_id in trained
        }
        if vectors:
            self.index.upsert(list(vectors), np.array(list(vectors.values())))
        self.changes += bool(touched)

    def _remove(self, item_ids: Sequence[str]) -> None:
        if item_ids:
            self.index.remove(item_ids)
            self._displace(item_ids)

    def _displace(self, item_ids: Iterable[str]) -> None:
        self._displaced.update(item_id for item_id in item_ids if item_id in self.bundle.items)

    def expire(self, now: datetime) -> None:
        """Takes out of the index what has expired by ``now``, and puts back what has not, after all."""
        if self._last_expiry <= now < self._next_expiry:  # read without the lock: searches must not wait for a writer
            return
        with self.lock:
            cut = bisect_right(self._expired, now, key=itemgetter(0))
            back = self._expired[cut:]
            del self._expired[cut:]
            for each in back:
                heapq.heappush(self._expiries, each)
            gone = []
            while self._expiries and self._expiries[0][0] <= now:
                gone.append(heapq.heappop(self._expiries))
            late = gone and self._expired and gone[0] < self._expired[-1]  # it had expired before it was written
            self._expired += gone
            if late:
                self._expired.sort()
            self._next_expiry = self._expiries[0][0] if self._expiries else _NEVER
            self._last_expiry = self._expired[-1][0] if self._expired else _ALWAYS
            self._update_index(sorted(item_id for _, _, item_id in filter(self._holds, back)))
            self._remove([item_id for _, _, item_id in filter(self._holds, gone)])
            self.changes += bool(gone or back)

    def _holds(self, expiry: _Expiry) -> bool:
        """Whether an expiry is that of an item's latest record."""
        return self._online[expiry[2]].seq == expiry[1]

    def own_rows(self) -> Rows:
        """The rows of the bundle whose items are found by their trained vectors, ascending."""
        with self.lock:
            displaced = [self.bundle.items.row(item_id) for item_id in self._displaced]
        return np.setdiff1d(np.arange(len(self.bundle.items)), displaced)
