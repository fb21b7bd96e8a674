"""Keeps what serves in step with the model store: loads the promoted version, and the next one when CURRENT moves.

A version is built aside from bundle and journal while the old one serves and writes go on. Then, with writers held back
for a moment, the records written meanwhile are applied and the handle is exchanged. A build that fails changes nothing.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from model_store import Bundle, ModelStore
from service.domain import Matrix
from service.handle import ServableHandle
from service.models import LoadFailure
from service.observability import Metrics
from service.ports import Encoder, FeatureCache, Featurizer, Journal, VectorIndex
from service.replay import Replay
from service.servable import Servable
from service.verification import verify

logger = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 60.0

T = TypeVar("T")

OpenEncoder = Callable[[Bundle], Encoder]
OpenFeaturizer = Callable[[Bundle], Featurizer | None]
BuildIndex = Callable[[Sequence[str], Matrix], VectorIndex]


@dataclass(frozen=True, slots=True)
class Engines:
    """How the engines of a model version are made."""

    open_encoder: OpenEncoder
    build_index: BuildIndex
    open_featurizer: OpenFeaturizer = lambda _: None


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failure, and when to try again (monotonic seconds)."""

    about: LoadFailure
    retry_at: float
    backoff_s: float


class ModelFollower:
    """Makes the promoted version serve, and every version that is promoted after it.

    Args:
        store: holds the versions.
        handle: says what serves.
        journal: holds what was written online.
        cache: holds encodings that were made before.
        engines: run the versions.
        metrics: of the app.
        keep: how many of the versions that served before are kept in memory.
    """

    def __init__(
        self,
        store: ModelStore,
        handle: ServableHandle,
        journal: Journal,
        cache: FeatureCache,
        engines: Engines,
        metrics: Metrics,
        keep: int = 1,
    ) -> None:
        self._store = store
        self._handle = handle
        self._journal = journal
        self._cache = cache
        self._replay = Replay(cache)
        self._engines = engines
        self._metrics = metrics
        self._limiter = CapacityLimiter(1)
        self._refreshing = anyio.Lock()
        self._failure: _Failure | None = None
        self._most_kept = keep
        self._kept: OrderedDict[str, Servable] = OrderedDict()

    @property
    def failure(self) -> LoadFailure | None:
        """The version that could not be made to serve, as long as it is still promoted."""
        return self._failure.about if self._failure else None

    async def run(self, poll_s: float) -> None:
        """Looks at CURRENT, and whether the cache answers, every ``poll_s`` seconds, until cancelled."""
        while True:
            await anyio.sleep(poll_s)
            await self._cache.ping()
            await self.refresh()

    async def refresh(self) -> None:
        """Makes the promoted version serve, if it does not yet. Trouble is logged, counted, and tried again later."""
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        version = None
        try:
            version = await self._in_thread(self._store.current)
            if version is None:
                self._handle.explain(f"no model version has been promoted in model store {self._store.root}")
            elif self._serves(version):
                self._failure = None
            elif not self._backs_off(version):
                await self._load(version)
                self._failure = None
        except Exception as exc:  # whatever a damaged bundle or engine raises: the old version serves on
            logger.exception("model_load_failed", extra={"version": version})
            self._metrics.model_swaps.labels("failed").inc()
            self._handle.explain(f"model version {version} cannot be loaded: {exc}")
            self._note_failure(version, str(exc))

    def _serves(self, version: str) -> bool:
        return self._handle.peek is not None and self._handle.peek.version == version

    def _backs_off(self, version: str) -> bool:
        failure = self._failure
        return failure is not None and failure.about.version == version and time.monotonic() < failure.retry_at

    def _note_failure(self, version: str | None, reason: str) -> None:
        again = self._failure is not None and self._failure.about.version == version
        backoff_s = min(2 * self._failure.backoff_s, _LONGEST_BACKOFF_S) if again and self._failure else 1.0
        self._failure = _Failure(LoadFailure(version, reason), time.monotonic() + backoff_s, backoff_s)

    async def _load(self, version: str) -> None:
        servable = self._kept.pop(version, None) or await self._build(version)
        seq = await self._replay.apply(servable, self._journal.read(after=servable.followed), servable.followed)
        async with self._handle.exchanging():
            servable.followed = await self._replay.apply(servable, self._journal.read(after=seq), seq)
            self._keep(self._handle.peek)
            self._handle.exchange(servable)
        self._metrics.serves(version)
        facts = {"version": version, "items": len(servable.index), "online_items": servable.online_items}
        logger.info("model_serves", extra={**facts, "index_seq": servable.index_seq})

    async def _build(self, version: str) -> Servable:
        servable = await self._in_thread(lambda: self._open(version))
        servable.followed = await self._replay.apply(servable, self._journal.latest(), 0)
        await self._in_thread(lambda: verify(servable))
        return servable

    def _keep(self, servable: Servable | None) -> None:
        """Keeps what served until now, as it is, so that going back to it needs only what was written since."""
        if servable:
            self._kept[servable.version] = servable
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)

    def _open(self, version: str) -> Servable:
        bundle = self._store.load(version)
        encoder = self._engines.open_encoder(bundle)
        index = self._engines.build_index(list(bundle.items), bundle.item_embeddings)
        featurizer = self._engines.open_featurizer(bundle)
        return Servable(bundle, encoder, index, featurizer=featurizer, watermark=self._watermark(bundle))

    def _watermark(self, bundle: Bundle) -> int:
        watermark, last_seq = bundle.manifest.journal_watermark, self._journal.last_seq()
        if watermark > last_seq:
            facts = {"version": bundle.version, "watermark": watermark, "last_seq": last_seq}
            logger.warning("watermark_of_another_journal", extra=facts)
            return 0
        return watermark

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._limiter)
