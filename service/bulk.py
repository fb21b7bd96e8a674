"""The write use case for many items at once: they share one encoding, one flush to disk, one change of the index."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import anyio
from anyio import to_thread

from service.catalog import WriteLimits, Written
from service.domain import Encoding, Item, PutItem, Record, Vector
from service.errors import EncodingFailed, InvalidItem, ItemMoved, Overloaded, RecommenderError
from service.features import all_fit, check_modalities, featurized
from service.handle import ServableHandle
from service.metrics import Metrics
from service.online import Standing
from service.peers import Peers
from service.ports import Encoder, FeatureCache, Journal
from service.servable import Servable

CHUNK = 256
"""How many items are best written at once."""

Outcome = Written | RecommenderError
_Encoded = Encoding | RecommenderError


class _Change(NamedTuple):
    """An entry on its way to the journal.

    Attributes:
        entry: what is written.
        encoding: what its item was encoded to; None where the vector it was trained to stands.
        expected: the latest record of its item where what stands of it is to stand; None where nothing does.
    """

    entry: PutItem
    encoding: Encoding | None
    expected: int | None


class Bulk:
    """Writes many items so that what is acknowledged is on disk and searchable; one bad item never stops the others.

    Args:
        handle: says which version serves.
        journal: takes the records.
        cache: takes the encodings.
        metrics: of the app.
        limits: the catalogue's own, so that both keep out of each other's items.
        peers: who else must know.
    """

    def __init__(
        self,
        handle: ServableHandle,
        journal: Journal,
        cache: FeatureCache,
        metrics: Metrics,
        limits: WriteLimits,
        peers: Peers | None = None,
    ) -> None:
        self._handle = handle
        self._journal = journal
        self._cache = cache
        self._metrics = metrics
        self._limits = limits
        self._peers = peers or Peers()

    async def put_many(self, items: Sequence[Item]) -> list[Outcome]:
        """Adds or replaces items, about ``CHUNK`` of them; says of each, in order, what became of it.

        Where an id comes twice, both are written and the later one holds. An item has an error as its outcome where
        it contradicts the model, the encoder fails on it, or the journal does not take it; it was not changed then.
        All have where others have kept one of them for too long.

        Raises:
            ModelUnavailable: nothing serves; nothing was changed.
        """
        return await self._once_more(items, await self._put_if_free(items, compare=True))

    async def _put_if_free(self, items: Sequence[Item], *, compare: bool) -> list[Outcome]:
        try:
            return await self._put(items, compare=compare)
        except Overloaded as exc:
            return [exc] * len(items)

    async def _put(self, items: Sequence[Item], *, compare: bool) -> list[Outcome]:
        """Writes items; only where they are compared can another process come between."""
        async with self._limits.items.hold([item.item_id for item in items]):
            while True:
                servable = self._handle.current
                prepare = partial(self._prepare, servable, items, compare=compare)
                prepared = await to_thread.run_sync(prepare, limiter=self._limits.encode)
                changes = [each for each in prepared if isinstance(each, _Change)]
                async with self._handle.writing():
                    if self._handle.peek is servable:  # otherwise the new version has its say first
                        # Shielded: who goes away must not leave records on disk that this process does not serve.
                        with anyio.CancelScope(shield=True):
                            records, written = await to_thread.run_sync(
                                self._write, servable, changes, limiter=self._limits.apply
                            )
                            await self._peers.spread([each for each in records if isinstance(each, Record)])
                        break
        await self._note(servable, changes, written)
        outcomes = iter(written)
        return [next(outcomes) if isinstance(each, _Change) else each for each in prepared]

    async def _once_more(self, items: Sequence[Item], outcomes: list[Outcome]) -> list[Outcome]:
        """Writes the items again that another process had written meanwhile; nobody expected anything of them.

        What comes later in the batch of the same items follows them again, so that it holds.
        """
        moved: set[str] = set()
        places: list[int] = []
        for place, (item, outcome) in enumerate(zip(items, outcomes, strict=True)):
            if isinstance(outcome, ItemMoved):
                moved.add(item.item_id)
            if item.item_id in moved:
                places.append(place)
        if places:
            again = await self._put_if_free([items[place] for place in places], compare=False)
            for place, outcome in zip(places, again, strict=True):
                outcomes[place] = outcome
        return outcomes

    def _prepare(self, servable: Servable, items: Sequence[Item], *, compare: bool) -> list[_Change | RecommenderError]:
        ready = _ready_all(servable, items)
        standing = _standing(servable, ready) if compare else [None] * len(ready)
        pairs = zip(ready, standing, strict=True)
        to_encode = [item.modalities for item, stands in pairs if isinstance(item, Item) and stands is None]
        self._metrics.encoding.count("batch", len(to_encode))
        with self._metrics.stage("encode"):
            encoded = iter(_encode_all(servable.encoder, to_encode) if to_encode else [])
        prepared: list[_Change | RecommenderError] = []
        for item, stands in zip(ready, standing, strict=True):
            if not isinstance(item, Item):
                prepared.append(item)
                continue
            if stands:
                prepared.append(_Change(PutItem(item, stands.since), stands.encoding, stands.seq))
                continue
            each = next(encoded)
            prepared.append(each if isinstance(each, RecommenderError) else _Change(PutItem(item), each, None))
        return prepared

    def _write(
        self, servable: Servable, changes: Sequence[_Change]
    ) -> tuple[list[Record | RecommenderError], list[Outcome]]:
        records = self._append(changes)
        return records, self._apply(servable, changes, records)

    def _append(self, changes: Sequence[_Change]) -> list[Record | RecommenderError]:
        with self._metrics.stage("journal"):
            return [*self._journal.append_all([(entry, expected) for entry, _, expected in changes]).result()]

    def _apply(
        self, servable: Servable, changes: Sequence[_Change], records: Sequence[Record | RecommenderError]
    ) -> list[Outcome]:
        pairs = list(zip(records, changes, strict=True))
        with self._metrics.stage("index"):
            done = [(record, change.encoding) for record, change in pairs if isinstance(record, Record)]
            existed = iter(servable.apply_many(done))
        return [
            _written(servable, change, record.seq, created=not next(existed)) if isinstance(record, Record) else record
            for record, change in pairs
        ]

    async def _note(self, servable: Servable, changes: Sequence[_Change], written: Sequence[Outcome]) -> None:
        pairs = zip(changes, written, strict=True)
        done = [(outcome, change.encoding) for change, outcome in pairs if isinstance(outcome, Written)]
        for (present, missing), items in Counter(
            (each.report.present, each.report.missing) for each, _ in done
        ).items():
            self._metrics.count_item(present, missing, items)
        encodings = {(outcome.item_id, outcome.seq): encoding for outcome, encoding in done if encoding}
        self._metrics.encoding.note(*encodings.values())
        if encodings:
            await self._cache.put_many(servable.identity, encodings)


def _written(servable: Servable, change: _Change, seq: int, *, created: bool) -> Written:
    item_id = change.entry.item.item_id
    return Written(item_id, created, servable.report(item_id, change.encoding), seq)


def _standing(servable: Servable, items: Sequence[Item | RecommenderError]) -> list[Standing | None]:
    """What stands of each item already; nothing where it comes again, as it may read otherwise by then."""
    first: set[str] = set()
    found: list[Standing | None] = []
    for item in items:
        if isinstance(item, Item) and item.item_id not in first:
            found.append(servable.standing(item))
            first.add(item.item_id)
        else:
            found.append(None)
    return found


def _ready_all(servable: Servable, items: Sequence[Item]) -> Sequence[Item | RecommenderError]:
    """Items that the model can encode, or why it cannot."""
    fit = all_fit(items, servable.bundle.manifest.modalities)
    return items if fit else [_ready(servable, item) for item in items]


def _ready(servable: Servable, item: Item) -> Item | RecommenderError:
    """An item that the model can encode, or why it cannot."""
    try:
        check_modalities(item.modalities, servable.bundle.manifest.modalities)
        return featurized(servable, item)
    except (InvalidItem, EncodingFailed) as exc:
        return exc


def _encode_all(encoder: Encoder, items: Sequence[Mapping[str, Vector]]) -> list[_Encoded]:
    try:
        return [*encoder.encode(items)]
    except EncodingFailed:  # one of them is enough for that: each on its own, so that only this one fails
        return [_encode_one(encoder, item) for item in items]


def _encode_one(encoder: Encoder, item: Mapping[str, Vector]) -> _Encoded:
    try:
        return encoder.encode([item])[0]
    except EncodingFailed as exc:
        return exc
