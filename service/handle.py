"""The one holder through which model versions are exchanged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from service.errors import ModelNotServing, ModelUnavailable
from service.servable import Servable


class ServableHandle:
    """The one mutable place that says which Servable serves; used on the event loop.

    Writers hold ``writing()`` from before a record is journalled until it is applied; an exchange holds
    ``exchanging()``, which waits for them and keeps new ones out. So no record falls between two Servables.
    """

    def __init__(self) -> None:
        self._servable: Servable | None = None
        self._reason = "no model version has been loaded yet"
        self._changed = anyio.Condition()
        self._writers = 0
        self._closed = False

    @property
    def current(self) -> Servable:
        """The Servable that serves.

        Raises:
            ModelUnavailable: with the reason why there is none.
        """
        if self._servable is None:
            raise ModelUnavailable(self._reason)
        return self._servable

    def serving(self, version: str | None) -> Servable:
        """The Servable that serves, if it is of this version; None = whichever serves.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version does.
        """
        servable = self.current
        if version is not None and version != servable.version:
            raise ModelNotServing(version, servable.version)
        return servable

    @property
    def peek(self) -> Servable | None:
        """The Servable that serves, or None."""
        return self._servable

    def explain(self, reason: str) -> None:
        """Notes why nothing serves; without effect once something does."""
        self._reason = reason

    def exchange(self, servable: Servable) -> None:
        """Makes another Servable serve, in one step; call it inside ``exchanging()``."""
        if self._servable:
            servable.newcomers.inherit(self._servable.newcomers)
        self._servable = servable

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Keeps the Servable from being exchanged meanwhile."""
        async with self._changed:
            while self._closed:
                await self._changed.wait()
            self._writers += 1
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                async with self._changed:
                    self._writers -= 1
                    self._changed.notify_all()

    @asynccontextmanager
    async def exchanging(self) -> AsyncIterator[None]:
        """Waits until nobody writes and lets nobody begin."""
        async with self._changed:
            while self._closed:
                await self._changed.wait()
            self._closed = True
        try:
            async with self._changed:
                while self._writers:
                    await self._changed.wait()
            yield
        finally:
            with anyio.CancelScope(shield=True):
                async with self._changed:
                    self._closed = False
                    self._changed.notify_all()
