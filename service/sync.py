"""Keeps what serves in step with the model store: the promoted version serves, the challenger is on trial.

A version is built aside from bundle and journal while the old one serves and writes go on. Then, with writers held back
for a moment, the records written meanwhile are applied and the handle is exchanged. A build that fails changes nothing.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import anyio
from anyio import to_thread

from model_store import Challenger, ModelStoreError
from service.building import Builder
from service.handle import Contender, ServableHandle
from service.metrics import Metrics
from service.models import LoadFailure
from service.ports import FeatureCache
from service.servable import Servable
from service.trained import typical_length

logger = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 60.0


class Attempts:
    """Tries the same thing again less and less often, as long as it fails."""

    def __init__(self) -> None:
        self.failure: LoadFailure | None = None
        self._retry_at = 0.0
        self._backoff_s = 0.0

    def may_try(self, version: str) -> bool:
        """Whether it is time to try a version."""
        failed = self.failure is not None and self.failure.version == version
        return not failed or time.monotonic() >= self._retry_at

    def failed(self, version: str | None, reason: str) -> None:
        """Notes that a version failed."""
        again = self.failure is not None and self.failure.version == version
        self._backoff_s = min(2 * self._backoff_s, _LONGEST_BACKOFF_S) if again else 1.0
        self._retry_at = time.monotonic() + self._backoff_s
        self.failure = LoadFailure(version, reason)

    def succeeded(self) -> None:
        """Notes that there is nothing to try again."""
        self.failure = None


class ModelFollower:
    """Makes the promoted version serve, and every version that is promoted after it; puts challengers on trial.

    Args:
        builder: makes Servables.
        handle: says what serves.
        cache: is asked now and then whether it answers.
        metrics: of the app.
        keep: how many of the versions that served before are kept in memory.
        on_exchange: is called whenever another version serves or is on trial.
    """

    def __init__(
        self,
        builder: Builder,
        handle: ServableHandle,
        cache: FeatureCache,
        metrics: Metrics,
        keep: int = 1,
        on_exchange: Callable[[], object] = lambda: None,
    ) -> None:
        self._builder = builder
        self._store = builder.store
        self._handle = handle
        self._cache = cache
        self._metrics = metrics
        self._refreshing = anyio.Lock()
        self._attempts = Attempts()
        self._trials = Attempts()
        self._most_kept = keep
        self._on_exchange = on_exchange
        self._kept: OrderedDict[str, Servable] = OrderedDict()
        self._told: str | None = None  # why nothing serves

    @property
    def failure(self) -> LoadFailure | None:
        """The version that could not be made to serve, as long as it is still promoted."""
        return self._attempts.failure

    async def run(self, poll_s: float) -> None:
        """Looks at the store, and whether the cache answers, every ``poll_s`` seconds, until cancelled."""
        while True:
            await anyio.sleep(poll_s)
            await self._cache.ping()
            await self.refresh()

    async def refresh(self) -> None:
        """Makes the promoted version serve, if it does not yet. Trouble is logged, counted, and tried again later."""
        async with self._refreshing:
            try:
                version = await to_thread.run_sync(self._store.current)
            except (ModelStoreError, OSError, ValueError) as exc:  # what was promoted last serves on
                self._tell(f"the model store {self._store.root} cannot be read: {exc}")
                return
            try:
                await self._make_serve(version)
            except Exception as exc:  # whatever a damaged bundle or engine raises: the old version serves on
                logger.exception("model_load_failed", extra={"version": version})
                self._metrics.models.swaps.labels("failed").inc()
                self._handle.explain(f"model version {version} cannot be loaded: {exc}")
                self._attempts.failed(version, str(exc))
            await self._refresh_trial()

    async def _make_serve(self, version: str | None) -> None:
        if version is None:
            missing = not await to_thread.run_sync(self._store.root.is_dir)
            more = ": there is no such directory" if missing else ""
            self._tell(f"no model version has been promoted in model store {self._store.root}{more}")
            return
        self._told = None
        if self._handle.peek is not None and self._handle.peek.version == version:
            self._attempts.succeeded()
        elif self._attempts.may_try(version):
            started = time.monotonic()
            await self._exchange(self._on_trial(version) or await self._kept_or_built(version))
            self._metrics.models.swap_seconds.observe(time.monotonic() - started)
            self._attempts.succeeded()

    def _tell(self, reason: str) -> None:
        """Says why nothing serves, in the log as well where it is another reason than at the last look."""
        if reason != self._told:
            logger.warning("model_store_without_model", extra={"reason": reason})
        self._told = reason
        self._handle.explain(reason)

    async def _kept_or_built(self, version: str) -> Servable:
        return self._kept.pop(version, None) or await self._builder.build(version)

    def _on_trial(self, version: str) -> Servable | None:
        contender = self._handle.contender
        return contender.servable if contender and contender.servable.version == version else None

    async def _exchange(self, servable: Servable) -> None:
        typical = await to_thread.run_sync(typical_length, servable.bundle)
        await self._up_to_date(servable, lambda: self._serve(servable))
        self._metrics.models.serves(servable.version)
        self._metrics.encoding.compare_with(typical)
        facts = {"version": servable.version, "items": len(servable.index), "online_items": servable.online_items}
        logger.info("model_serves", extra={**facts, "index_seq": servable.index_seq})

    async def _up_to_date(self, servable: Servable, then: Callable[[], object]) -> None:
        """Calls ``then`` at a moment when a Servable knows everything and nobody writes."""
        await self._builder.catch_up(servable)
        async with self._handle.exchanging():
            await self._builder.catch_up(servable)
            then()
        self._on_exchange()

    def _serve(self, servable: Servable) -> None:
        before = self._handle.peek
        self._handle.exchange(servable)
        if before:  # as it is, so that going back to it needs only what will be written from now on
            self._kept[before.version] = before
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)

    async def _refresh_trial(self) -> None:
        wanted = None
        try:
            wanted = await to_thread.run_sync(self._store.challenger)
            await self._make_trial(wanted)
        except Exception as exc:  # a trial that fails must not cost anything else
            version = wanted.version if wanted else None
            logger.exception("challenger_load_failed", extra={"version": version})
            self._trials.failed(version, str(exc))
            if wanted:
                self._metrics.models.trial_failures.inc()

    async def _make_trial(self, wanted: Challenger | None) -> None:
        serving, contender = self._handle.peek, self._handle.contender
        if wanted is None or serving is None or wanted.version == serving.version:
            self._handle.challenge(None)
        elif contender and contender.servable.version == wanted.version:
            if (contender.share, contender.mode) != (wanted.share, wanted.mode):
                self._handle.challenge(Contender(contender.servable, wanted.share, wanted.mode))
        elif self._trials.may_try(wanted.version):
            servable = await self._kept_or_built(wanted.version)
            on_trial = Contender(servable, wanted.share, wanted.mode)
            await self._up_to_date(servable, lambda: self._handle.challenge(on_trial))
            self._trials.succeeded()
            logger.info("challenger_on_trial", extra={"version": wanted.version, "share": wanted.share})
