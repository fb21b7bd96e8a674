"""Keeps what serves in step with the model store: the version that is promoted there is built aside and then serves.

A build that fails changes nothing: the old version serves on.
"""

import logging
import time

import anyio
from anyio import to_thread

from model_store import ModelStoreError
from service.handle import ServableHandle
from service.loading import Attempts, Loading
from service.metrics import Metrics
from service.models import LoadFailure
from service.ports import FeatureCache
from service.servable import Servable
from service.trained import typical_length

logger = logging.getLogger(__name__)


class ModelFollower:
    """Makes the promoted version serve, and every version that is promoted after it.

    Args:
        loading: has versions ready.
        handle: says what serves.
        cache: is asked now and then whether it answers.
        metrics: of the app.
    """

    def __init__(self, loading: Loading, handle: ServableHandle, cache: FeatureCache, metrics: Metrics) -> None:
        self._loading = loading
        self._store = loading.store
        self._handle = handle
        self._cache = cache
        self._metrics = metrics
        self._refreshing, self._exchanging = anyio.Lock(), anyio.Lock()
        self._attempts = Attempts()
        self._woken = anyio.Event()
        self._waiting: list[anyio.Event] = []
        self._told: str | None = None  # why nothing serves

    @property
    def failure(self) -> LoadFailure | None:
        """The version that could not be made to serve, as long as it is still promoted."""
        return self._attempts.failure

    async def run(self, poll_s: float) -> None:
        """Looks at the store, and whether the cache answers, every ``poll_s`` seconds, until cancelled."""
        while True:
            with anyio.move_on_after(poll_s):
                await self._woken.wait()
            self._woken = anyio.Event()
            waiting, self._waiting = self._waiting, []
            await self.refresh()
            for each in waiting:
                each.set()
            await self._cache.ping()

    async def settle(self, within_s: float) -> None:
        """Makes what was just promoted serve: at once where it is in memory, else as soon as ``run`` has built it.

        Returns when that is done, or has failed, or after ``within_s`` seconds; a build then goes on.
        """
        with anyio.move_on_after(within_s):
            if not await self._served_from_memory():
                done = anyio.Event()
                self._waiting.append(done)
                self._woken.set()
                await done.wait()

    async def refresh(self) -> None:
        """Makes the promoted version serve, if it does not yet. Trouble is logged, counted, and tried again later."""
        async with self._refreshing:
            settled = False
            while not settled:  # what is promoted may change while a version is built
                settled = await self._look()

    async def _look(self) -> bool:
        """Whether there is nothing more to do now."""
        try:
            version = await to_thread.run_sync(self._store.current)
        except (ModelStoreError, OSError, ValueError) as exc:  # what was promoted last serves on
            self._tell(f"the model store {self._store.root} cannot be read: {exc}")
            return True
        try:
            return await self._make_serve(version)
        except Exception as exc:  # whatever a damaged bundle or engine raises: the old version serves on
            logger.exception("model_load_failed", extra={"version": version})
            self._metrics.models.swaps.labels("failed").inc()
            self._handle.explain(f"model version {version} cannot be loaded: {exc}")
            self._attempts.failed(version, str(exc))
            return True

    async def _make_serve(self, version: str | None) -> bool:
        """False where another version was promoted while this one was built; it then does not serve."""
        if version is None:
            missing = not await to_thread.run_sync(self._store.root.is_dir)
            more = ": there is no such directory" if missing else ""
            self._tell(f"no model version has been promoted in model store {self._store.root}{more}")
            self._attempts.succeeded()
            return True
        self._told = None
        if self._serves(version):
            self._attempts.succeeded()
        elif self._attempts.may_try(version):
            started = time.monotonic()
            servable = await self._loading.ready(version)
            if await to_thread.run_sync(self._store.current) != version:
                logger.info("model_build_dropped", extra={"version": version})
                return False
            await self._exchange(servable, started)
        return True

    async def _served_from_memory(self) -> bool:
        started = time.monotonic()
        try:
            version = await to_thread.run_sync(self._store.current)
            if version is None or not (servable := self._loading.at_hand(version)):
                return False
            await self._exchange(servable, started)
        except Exception:  # whatever it is: ``run`` meets it as well, says so, and tries again
            logger.debug("not_served_from_memory", exc_info=True)
            return False
        return True

    def _serves(self, version: str) -> bool:
        return self._handle.peek is not None and self._handle.peek.version == version

    def _tell(self, reason: str) -> None:
        """Says why nothing serves, in the log as well where it is another reason than at the last look."""
        if reason != self._told:
            logger.warning("model_store_without_model", extra={"reason": reason})
        self._told = reason
        self._handle.explain(reason)

    async def _exchange(self, servable: Servable, started: float) -> None:
        async with self._exchanging:  # whoever asked for it and the next look may come together
            if not self._serves(servable.version):
                typical = await to_thread.run_sync(typical_length, servable.bundle)
                await self._loading.when_up_to_date(servable, lambda: self._loading.serve(servable))
                self._metrics.encoding.compare_with(typical)
                self._tell_of(servable, time.monotonic() - started)
            self._attempts.succeeded()

    def _tell_of(self, servable: Servable, seconds: float) -> None:
        self._metrics.models.swap_seconds.observe(seconds)
        self._metrics.models.serves(servable.version)
        facts = {"version": servable.version, "items": len(servable.index), "online_items": servable.online_items}
        logger.info("model_serves", extra={**facts, "index_seq": servable.index_seq})
