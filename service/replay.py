"""From records of the journal to what they mean to a model version: encodings, from the cache or anew."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
from anyio import CapacityLimiter, to_thread

from service.domain import Encoding, Item, PutItem, Record, Vector
from service.errors import EncodingFailed
from service.features import usable
from service.metrics import Metrics
from service.ports import FeatureCache
from service.servable import Servable

logger = logging.getLogger(__name__)

_BATCH = 256
_MOST_TIMES_TYPICAL = 100.0  # new items are about as long as trained ones; what is not is encoded once more, no worse

T = TypeVar("T")


class Replay:
    """Applies records to a Servable, in batches, on a thread of its own.

    Args:
        cache: holds encodings that were made before.
        metrics: of the app.
    """

    def __init__(self, cache: FeatureCache, metrics: Metrics | None = None) -> None:
        self._cache = cache
        self._metrics = metrics or Metrics()
        self._limiter = CapacityLimiter(1)

    async def apply(self, servable: Servable, records: Iterator[Record], seq: int) -> int:
        """Applies records; returns the last ``seq`` read, or ``seq`` where there was none.

        Raises:
            StorageUnavailable: the journal cannot be read.
            EncodingFailed: the encoder fails even on items without modalities.
        """
        while batch := await self._in_thread(lambda: list(islice(records, _BATCH))):
            encodings = await self._encodings(servable, [r for r in batch if servable.needs_encoding(r)])
            changes = [(record, encodings.get(record.seq)) for record in batch]
            await self._in_thread(partial(servable.apply_many, changes))
            seq = batch[-1].seq
        return seq

    async def _encodings(self, servable: Servable, records: Sequence[Record]) -> dict[int, Encoding]:
        """Encodings of put records by ``seq``: cached ones, and fresh ones for the rest."""
        items = {record.seq: record.entry.item for record in records if isinstance(record.entry, PutItem)}
        keys = [(item.item_id, seq) for seq, item in items.items()]
        cached = await self._cache.get_many(servable.identity, keys)
        given = {seq: e for (_, seq), e in zip(keys, cached, strict=True) if e is not None}
        found = await self._in_thread(partial(_fitting, servable, given)) if given else {}
        if others := len(given) - len(found):
            logger.warning("cached_encodings_ignored", extra={"version": servable.version, "encodings": others})
        missing = {seq: item for seq, item in items.items() if seq not in found}
        self._metrics.cache.count(len(found), len(missing))
        self._metrics.encoding.count("replay", len(missing))
        if missing:
            fresh = await self._in_thread(lambda: encode_again(servable, list(missing.values())))
            encoded = dict(zip(missing, fresh, strict=True))
            by_key = {(missing[seq].item_id, seq): e for seq, e in encoded.items()}
            await self._cache.put_many(servable.identity, by_key)
            found |= encoded
        return found

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._limiter)


def _fitting(servable: Servable, encodings: Mapping[int, Encoding]) -> dict[int, Encoding]:
    return {seq: encoding for seq, encoding in encodings.items() if _fits(encoding, servable)}


def _fits(encoding: Encoding, servable: Servable) -> bool:
    """Whether a cached encoding can be of this model. It need not be: others may write where the cache is."""
    manifest = servable.bundle.manifest
    if sorted((*encoding.present, *encoding.missing)) != [*manifest.modality_names]:
        return False
    length, history_length = servable.typical_lengths
    if not _is_alike(encoding.embedding, manifest.d, length):
        return False
    history = encoding.history_embedding
    if history is None:
        return manifest.history is None
    return manifest.history is not None and _is_alike(history, manifest.d, history_length)


def _is_alike(vector: Vector, d: int, typical: float) -> bool:
    """Whether a vector has d numbers, and is not longer beyond all measure than is typical; 0 = nothing is."""
    most = _MOST_TIMES_TYPICAL * typical if typical else np.inf
    wide = vector.astype(np.float64)  # the square of what float32 can hold may be more than it can hold
    return wide.shape == (d,) and bool(np.dot(wide, wide) <= most * most)


def encode_again(servable: Servable, items: Sequence[Item]) -> list[Encoding]:
    """Encodes items that were accepted under another version, from what the version of ``servable`` can use of them.

    An item on which the encoder fails is encoded as one without modalities: it must not keep the others from serving.

    Raises:
        EncodingFailed: the encoder fails even so.
    """
    left = [usable(servable, item) for item in items]
    try:
        return servable.encoder.encode([item.modalities for item in left])
    except EncodingFailed:
        return [_encode_or_prior(servable, item) for item in left]


def _encode_or_prior(servable: Servable, item: Item) -> Encoding:
    try:
        return servable.encoder.encode([item.modalities])[0]
    except EncodingFailed:
        facts = {"item_id": item.item_id, "version": servable.version}
        logger.warning("item_encoded_as_prior", extra=facts, exc_info=True)
        return servable.encoder.encode([{}])[0]
