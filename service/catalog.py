"""The write use cases: add or replace an item, look at it, delete it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
import numpy as np
from anyio import CapacityLimiter, to_thread

from service.domain import CatalogItem, DeleteItem, Encoding, EncodingReport, Entry, Item, PutItem, Record, Vector
from service.errors import DimensionMismatch, NotFinite, UnknownItem, UnknownModality, json_pointer
from service.observability import Metrics
from service.ports import FeatureCache, Journal
from service.servable import Servable, ServableHandle, report_of


@dataclass(frozen=True, slots=True)
class Written:
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
    """How much may run at the same time on worker threads."""

    encode: CapacityLimiter
    apply: CapacityLimiter


class Catalog:
    """Writes items so that what is acknowledged is on disk and searchable."""

    def __init__(
        self, handle: ServableHandle, journal: Journal, cache: FeatureCache, metrics: Metrics, limits: WriteLimits
    ) -> None:
        self._handle = handle
        self._journal = journal
        self._cache = cache
        self._metrics = metrics
        self._limits = limits

    async def put(self, item: Item) -> Written:
        """Adds or replaces an item.

        Raises:
            InvalidItem: the item contradicts the model.
            EncodingFailed: the encoder failed; nothing was changed.
            ModelUnavailable: nothing serves.
            StorageUnavailable: the journal takes no records; nothing was changed.
        """
        while True:
            servable = self._handle.current
            encoding = await self._encode(servable, item)
            async with self._handle.writing():
                # The version can no longer move. Where it moved while we encoded, the new one has its say first.
                if self._handle.peek is servable:
                    record, existed = await self._write(servable, PutItem(item), encoding)
                    break
        self._metrics.count_item(encoding.present, encoding.missing)
        await self._cache.put_many({(item.item_id, record.seq): encoding})
        return Written(item.item_id, not existed, report_of(encoding), record.seq)

    def get(self, item_id: str) -> CatalogItem:
        """An item as it stands, shown or not.

        Raises:
            UnknownItem: there is none.
            ModelUnavailable: nothing serves.
        """
        found = self._handle.current.get(item_id)
        if found is None:
            raise UnknownItem(item_id)
        return found

    async def delete(self, item_id: str) -> int:
        """Deletes an item and returns the record's ``seq``; it is never shown again unless it is put again.

        Raises:
            UnknownItem: there is none.
            ModelUnavailable: nothing serves.
            StorageUnavailable: the journal takes no records; nothing was changed.
        """
        async with self._handle.writing():
            servable = self._handle.current
            if item_id not in servable:
                raise UnknownItem(item_id)
            record, _ = await self._write(servable, DeleteItem(item_id), None)
        return record.seq

    async def _encode(self, servable: Servable, item: Item) -> Encoding:
        check_modalities(item.modalities, servable.bundle.manifest.modalities)

        def encode() -> Encoding:
            with self._metrics.stage("encode"):
                return servable.encoder.encode([item.modalities])[0]

        return await to_thread.run_sync(encode, limiter=self._limits.encode)

    async def _write(self, servable: Servable, entry: Entry, encoding: Encoding | None) -> tuple[Record, bool]:
        # Shielded: a caller who goes away must not leave a record on disk that this process does not serve.
        with anyio.CancelScope(shield=True):
            with self._metrics.stage("journal"):
                record = await asyncio.wrap_future(self._journal.append(entry))

            def apply() -> bool:
                with self._metrics.stage("index"):
                    return servable.apply(record, encoding)

            existed = await to_thread.run_sync(apply, limiter=self._limits.apply)
        return record, existed


def check_modalities(modalities: Mapping[str, Vector], known: Mapping[str, int]) -> None:
    """Checks vectors against a model's modalities (name → d_m).

    Raises:
        UnknownModality: the model has no modality of that name.
        DimensionMismatch: a vector is of another length than d_m.
        NotFinite: a vector holds NaN, infinity, or what float32 cannot hold.
    """
    for name, vector in modalities.items():
        if name not in known:
            raise UnknownModality(json_pointer("modalities", name), name, tuple(known))
        if vector.shape != (known[name],):
            raise DimensionMismatch(json_pointer("modalities", name), known[name], vector.size)
        finite = np.isfinite(vector)
        if not finite.all():
            raise NotFinite(json_pointer("modalities", name, int(np.argmin(finite))))
