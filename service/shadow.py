"""Shadow evaluation: a share of the lists is made again by the version on trial, shown to nobody, and compared."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from anyio import CapacityLimiter, to_thread

from service.domain import Recommendation
from service.handle import ServableHandle
from service.lists import Wish
from service.metrics import Metrics
from service.servable import Servable

logger = logging.getLogger(__name__)

_MOST_WAITING = 32

Answer = Callable[[Servable, str, Wish], Recommendation]
_Job = tuple[str, Wish, Sequence[str]]


class Shadow:
    """Compares lists aside; where too many wait, the next ones are left out.

    Args:
        handle: says what is on trial.
        answer: makes the list of a version for a user.
        metrics: of the app.
        chance: gives numbers in [0, 1).
    """

    def __init__(
        self,
        handle: ServableHandle,
        answer: Answer,
        metrics: Metrics,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._handle = handle
        self._answer = answer
        self._metrics = metrics
        self._chance = chance
        self._limiter = CapacityLimiter(1)
        self._waiting: asyncio.Queue[_Job] = asyncio.Queue(_MOST_WAITING)

    def offer(self, user_id: str, wish: Wish, shown: Recommendation) -> None:
        """Has a list compared, if a version is in shadow and this is one of its share; on the event loop."""
        contender = self._handle.contender
        if contender is None or contender.mode != "shadow" or wish.model is not None:
            return
        if self._chance() < contender.share:
            try:
                self._waiting.put_nowait((user_id, wish, [item.item_id for item in shown.items]))
            except asyncio.QueueFull:
                self._metrics.shadow.skipped.inc()

    async def run(self) -> None:
        """Compares what was offered, one after the other, until cancelled."""
        while True:
            user_id, wish, shown = await self._waiting.get()
            contender = self._handle.contender
            if contender is None:
                continue
            try:
                with self._metrics.stage("shadow"):
                    other = await to_thread.run_sync(
                        self._answer, contender.servable, user_id, wish, limiter=self._limiter
                    )
            except Exception:  # a version on trial may fail; that is what it is tried for
                logger.warning("shadow_failed", extra={"version": contender.servable.version}, exc_info=True)
                self._metrics.shadow.failures.inc()
            else:
                self._metrics.shadow.overlap.observe(overlap(shown, [item.item_id for item in other.items]))


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of places that two lists have in common, of the longer one; 1 where both are empty.

    >>> overlap(["a", "b"], ["b", "c", "d", "e"])
    0.25
    """
    longest = max(len(one), len(other))
    return len(set(one) & set(other)) / longest if longest else 1.0
