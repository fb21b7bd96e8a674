"""The write use cases: add or replace an item, merge into it, look at it, delete it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio
from anyio import CapacityLimiter, to_thread

from service.conditions import ALWAYS, Condition
from service.domain import CatalogItem, DeleteItem, Encoding, EncodingReport, Entry, Item, PutItem, Record
from service.errors import ItemMoved, UnknownItem
from service.features import check_modalities, featurized, usable
from service.handle import ServableHandle
from service.locks import ItemLocks
from service.metrics import Metrics
from service.online import Standing
from service.peers import Peers
from service.ports import FeatureCache, Journal
from service.queueing import Turns, in_thread
from service.servable import Servable
from service.trained import trained_features


class Written(NamedTuple):
    """What became of an item that was put.

    Attributes:
        created: whether there was no such item before.
        seq: place of the record in the journal.
    """

    item_id: str
    created: bool
    report: EncodingReport
    seq: int


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """How much may run at the same time, and wait for it; of one item's writes one, among all who share this.

    Attributes:
        at_once_s: what of a single item's writing should take no longer is done on the event loop; 0 = nothing is.
    """

    encode: CapacityLimiter
    apply: CapacityLimiter
    waiting: int = 200
    at_once_s: float = 0.0
    items: ItemLocks = field(default_factory=ItemLocks)


class Catalog:
    """Writes items so that what is acknowledged is on disk and searchable."""

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
        self._encodings = Turns(limits.encode, limits.at_once_s)
        self._changes = Turns(limits.apply, limits.at_once_s)
        self._peers = peers or Peers()

    async def put(self, item: Item, condition: Condition = ALWAYS) -> Written:
        """Adds or replaces an item. Where its features are those it had, what was learned of them stands.

        Raises:
            InvalidItem: the item contradicts the model.
            PreconditionFailed: the item is not as expected; nothing was changed.
            EncodingFailed: the encoder failed; nothing was changed.
            ModelUnavailable: nothing serves.
            StorageUnavailable: the journal takes no records; nothing was changed.
        """
        async with self._limits.items.hold((item.item_id,)):
            while True:
                servable = self._handle.current
                check_modalities(item.modalities, servable.bundle.manifest.modalities)
                expected = None if condition == ALWAYS else servable.latest_seq(item.item_id)  # before it is looked at
                condition.check(item.item_id, servable.get(item.item_id))
                ready = await self._featurized(servable, item)
                standing = servable.standing(ready)
                if expected is None and standing:  # the features are left as they are, which depends on what they are
                    expected = standing.seq
                if written := await self._write_encoded(servable, ready, ready, standing, expected):
                    return written

    async def patch(self, item_id: str, change: Callable[[Item], Item], condition: Condition = ALWAYS) -> Written:
        """Makes of an item what ``change`` makes of it; nothing is written where that is the very same object.

        No other write of the item comes between reading and writing it. Modalities the current model does not know
        are kept: the next model may.

        Raises:
            UnknownItem: there is none.
            InvalidItem: a modality that is new contradicts the model, or ``change`` refuses.
            PreconditionFailed: the item is not as expected; nothing was changed.
            EncodingFailed: the encoder failed; nothing was changed.
            ItemMoved: its latest record could not be applied here; the next start will. Nothing was changed.
            ModelUnavailable: nothing serves.
            StorageUnavailable: the journal gives or takes no records; nothing was changed.
        """
        async with self._limits.items.hold((item_id,)):
            while True:
                servable = self._handle.current
                found = await self._found(servable, item_id)
                condition.check(item_id, found)
                before = await to_thread.run_sync(self._read, servable, found, limiter=self._limits.apply)
                after = change(before)
                if after is before:
                    return Written(item_id, created=False, report=found.report, seq=found.seq)
                _check_new(servable, before, after)
                ready = await self._featurized(servable, after)
                standing = servable.standing(ready, before)
                fit = ready if standing else usable(servable, ready)
                if written := await self._write_encoded(servable, ready, fit, standing, found.seq):
                    return written

    def get(self, item_id: str) -> CatalogItem:
        """An item as it stands, shown or not.

        Raises:
            UnknownItem: there is none.
            ModelUnavailable: nothing serves.
        """
        return _find(self._handle.current, item_id)

    async def delete(self, item_id: str, condition: Condition = ALWAYS) -> int:
        """Deletes an item and returns the record's ``seq``; it is never shown again unless it is put again.

        Raises:
            UnknownItem: there is none.
            PreconditionFailed: the item is not as expected; nothing was changed.
            ItemMoved: its latest record could not be applied here; the next start will. Nothing was changed.
            ModelUnavailable: nothing serves.
            StorageUnavailable: the journal takes no records; nothing was changed.
        """
        async with self._limits.items.hold((item_id,)):
            while True:
                async with self._handle.writing():
                    servable = self._handle.current
                    found = await self._found(servable, item_id)
                    condition.check(item_id, found)
                    expected = None if condition == ALWAYS else found.seq
                    try:
                        record, _ = await self._write(servable, DeleteItem(item_id), None, expected)
                    except ItemMoved as moved:
                        await self._learn(servable, moved)
                    else:
                        return record.seq

    async def _found(self, servable: Servable, item_id: str) -> CatalogItem:
        """An item, also one that another process has written just now."""
        if item_id not in servable:
            await self._peers.catch_up()
        return _find(servable, item_id)

    def _read(self, servable: Servable, found: CatalogItem) -> Item:
        """An item with its features: those that its vector stands for."""
        if not found.seq:
            row = servable.bundle.items.row(found.item.item_id)
            return found.item._replace(modalities=trained_features(servable.bundle, row))
        record = self._journal.find(found.item.item_id)
        if record is None or not isinstance(record.entry, PutItem):
            raise UnknownItem(found.item.item_id)
        return servable.described(record.entry.item)

    async def _write_encoded(
        self, servable: Servable, item: Item, fit: Item, standing: Standing | None, expected: int | None
    ) -> Written | None:
        """Writes an item, encoded from what is ``fit`` unless it stands; None where it must be looked at anew.

        It must where another version serves by now, or where another process has written the item since the record
        that is ``expected`` to be its latest, on which what is written depends. In this process its lock is held.
        """
        encoding = standing.encoding if standing else await self._encode(servable, fit)
        async with self._handle.writing():
            # The version can no longer move. Where it moved while we encoded, the new one has its say first.
            if self._handle.peek is not servable:
                return None
            entry = PutItem(item, standing.since if standing else None)
            try:
                record, existed = await self._write(servable, entry, encoding, expected)
            except ItemMoved as moved:
                await self._learn(servable, moved)
                return None
        report = servable.report(item.item_id, encoding)
        self._metrics.count_item(report.present, report.missing)
        if encoding:
            self._metrics.encoding.note(encoding)
            await self._cache.put_many(servable.identity, {(item.item_id, record.seq): encoding})
        return Written(item.item_id, not existed, report, record.seq)

    async def _learn(self, servable: Servable, moved: ItemMoved) -> None:
        """Applies what came in between.

        Raises:
            ItemMoved: ``moved``, as it was no other process: a record of ours could not be applied.
        """
        await self._peers.catch_up()
        if servable.latest_seq(moved.item_id) < moved.seq:
            raise moved

    async def _featurized(self, servable: Servable, item: Item) -> Item:
        if not item.raw:
            return item

        def make() -> Item:
            with self._metrics.stage("featurize"):
                return featurized(servable, item)

        return await in_thread(make, self._limits.encode, self._limits.waiting)

    async def _encode(self, servable: Servable, item: Item) -> Encoding:
        def encode() -> Encoding:
            self._metrics.encoding.count("item", 1)
            with self._metrics.stage("encode"):
                return servable.encoder.encode([item.modalities])[0]

        return await self._encodings.run(encode, self._limits.waiting)

    async def _write(
        self, servable: Servable, entry: Entry, encoding: Encoding | None, expected: int | None
    ) -> tuple[Record, bool]:
        # Shielded: a caller who goes away must not leave a record on disk that this process does not serve.
        with anyio.CancelScope(shield=True):
            with self._metrics.stage("journal"):
                record = await asyncio.wrap_future(self._journal.append(entry, expected=expected))

            def apply() -> bool:
                with self._metrics.stage("index"):
                    return servable.apply(record, encoding)

            existed = await self._changes.run(apply)
            await self._peers.spread([record])
        return record, existed


def _find(servable: Servable, item_id: str) -> CatalogItem:
    found = servable.get(item_id)
    if found is None:
        raise UnknownItem(item_id)
    return found


def _check_new(servable: Servable, before: Item, after: Item) -> None:
    """Checks what is new in an item against the model; what was there before need not fit it."""
    old = before.modalities
    new = {name: vector for name, vector in after.modalities.items() if vector is not old.get(name)}
    check_modalities(new, servable.bundle.manifest.modalities)
