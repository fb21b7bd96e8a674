"""Keeps what is on trial in step with the model store: the challenger there is built aside and then takes its share."""

import logging

import anyio
from anyio import to_thread

from model_store import Challenger, ModelStoreError
from service.handle import Contender, ServableHandle
from service.loading import Attempts, Loading
from service.metrics import Metrics
from service.models import LoadFailure

logger = logging.getLogger(__name__)


class TrialFollower:
    """Puts challengers on trial, beside what serves and without holding it up.

    Args:
        loading: has versions ready.
        handle: says what serves.
        metrics: of the app.
    """

    def __init__(self, loading: Loading, handle: ServableHandle, metrics: Metrics) -> None:
        self._loading = loading
        self._store = loading.store
        self._handle = handle
        self._metrics = metrics
        self._refreshing = anyio.Lock()
        self._attempts = Attempts()

    @property
    def failure(self) -> LoadFailure | None:
        """The challenger that could not be put on trial, as long as it is still to be."""
        return self._attempts.failure

    async def run(self, poll_s: float) -> None:
        """Looks at the store now and every ``poll_s`` seconds, until cancelled."""
        while True:
            await self.refresh()
            await anyio.sleep(poll_s)

    async def refresh(self) -> None:
        """Puts the challenger on trial, or ends a trial. Trouble is logged, counted, and tried again later."""
        async with self._refreshing:
            try:
                wanted = await to_thread.run_sync(self._store.challenger)
                promoted = await to_thread.run_sync(self._store.current)
            except (ModelStoreError, OSError, ValueError) as exc:  # who is on trial stays so
                if self._attempts.failure != (failure := LoadFailure(None, str(exc))):
                    logger.warning("challenger_unreadable", extra={"reason": failure.reason})
                    self._attempts.failed(None, failure.reason)
                return
            try:
                await self._make_trial(wanted, promoted)
            except Exception as exc:  # a trial that fails must not cost anything else
                version = wanted.version if wanted else None
                logger.exception("challenger_load_failed", extra={"version": version})
                self._attempts.failed(version, str(exc))
                self._metrics.models.trial_failures.inc()

    async def _make_trial(self, wanted: Challenger | None, promoted: str | None) -> None:
        contender = self._handle.contender
        if contender and contender.servable.version == promoted:
            self._attempts.succeeded()  # it has won, and is about to serve as it is
        elif wanted is None or not self._is_beside(wanted):
            self._handle.challenge(None)
            self._attempts.succeeded()
        elif contender and contender.servable.version == wanted.version:
            self._attempts.succeeded()
            if (contender.share, contender.mode) != (wanted.share, wanted.mode):
                self._handle.challenge(Contender(contender.servable, wanted.share, wanted.mode))
        elif self._attempts.may_try(wanted.version):
            await self._begin(wanted)

    async def _begin(self, wanted: Challenger) -> None:
        servable = await self._loading.ready(wanted.version)
        if await to_thread.run_sync(self._store.challenger) != wanted:
            return  # the next look finds out what is wanted by now
        on_trial = Contender(servable, wanted.share, wanted.mode)

        def begin() -> None:
            if self._is_beside(wanted):
                self._handle.challenge(on_trial)
                logger.info("challenger_on_trial", extra={"version": wanted.version, "share": wanted.share})

        await self._loading.when_up_to_date(servable, begin)
        self._attempts.succeeded()

    def _is_beside(self, wanted: Challenger) -> bool:
        """Whether something else serves, which it can be compared with."""
        serving = self._handle.peek
        return serving is not None and serving.version != wanted.version
