"""Model versions on their way to serving: kept in memory, or built aside while others serve and writes go on.

With writers held back for a moment, the records written meanwhile are applied, and then the handle is changed.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from model_store import ModelStore
from service.building import Builder
from service.handle import ServableHandle
from service.models import LoadFailure
from service.servable import Servable

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


class Loading:
    """Has versions ready, and those that served before at hand.

    Args:
        builder: makes Servables.
        handle: says what serves.
        keep: how many of the versions that served before are kept in memory.
        on_exchange: is called whenever another version serves or is on trial.
    """

    def __init__(
        self, builder: Builder, handle: ServableHandle, keep: int = 1, on_exchange: Callable[[], object] = lambda: None
    ) -> None:
        self._builder = builder
        self._handle = handle
        self._most_kept = keep
        self._on_exchange = on_exchange
        self._kept: OrderedDict[str, Servable] = OrderedDict()

    @property
    def store(self) -> ModelStore:
        """Where the versions are."""
        return self._builder.store

    def at_hand(self, version: str) -> Servable | None:
        """A version that is in memory: serving, on trial, or kept; None where it has to be built."""
        for servable in self._handle.live:
            if servable.version == version:
                return servable
        return self._kept.get(version)

    async def ready(self, version: str) -> Servable:
        """A version from memory, or built.

        Raises:
            ModelStoreError: the version is damaged, absent or of another format.
            ModelUnavailable: an engine cannot load it, or it fails its trial.
            StorageUnavailable: the journal cannot be read.
        """
        return self.at_hand(version) or await self._builder.build(version)

    async def when_up_to_date(self, servable: Servable, then: Callable[[], object]) -> None:
        """Calls ``then`` at a moment when a Servable knows everything and nobody writes.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        await self._builder.catch_up(servable)
        async with self._handle.exchanging():
            await self._builder.catch_up(servable)
            then()
        self._on_exchange()

    def serve(self, servable: Servable) -> None:
        """Makes a version serve and keeps the one before as it is: going back to it takes what is written from now on.

        Call it inside ``exchanging()``.
        """
        before = self._handle.peek
        self._handle.exchange(servable)
        self._kept.pop(servable.version, None)
        if before:
            self._kept[before.version] = before
        while len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)
