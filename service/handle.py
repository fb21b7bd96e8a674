"""The one holder through which model versions are exchanged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import anyio

from service.errors import ModelNotServing, ModelUnavailable
from service.servable import Servable

Arm = Literal["current", "challenger"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A version on trial; see ``model_store.Challenger``."""

    servable: Servable
    share: float
    mode: Literal["split", "shadow"]


class ServableHandle:
    """The one mutable place that says which Servable serves; used on the event loop.

    Writers hold ``writing()`` from before a record is journalled until it is applied; an exchange holds
    ``exchanging()``, which waits for them and keeps new ones out. So no record falls between two Servables.
    """

    def __init__(self) -> None:
        self._servable: Servable | None = None
        self._contender: Contender | None = None
        self._complete = 0  # what was followed as the trial began
        self._reason = "no model version has been loaded yet"
        self._writers = 0
        self._closed = False
        self._idle = anyio.Event()
        self._opened = anyio.Event()

    @property
    def current(self) -> Servable:
        """The Servable that serves.

        Raises:
            ModelUnavailable: with the reason why there is none.
        """
        if self._servable is None:
            raise ModelUnavailable(self._reason)
        return self._servable

    @property
    def contender(self) -> Contender | None:
        """The version on trial, or None."""
        return self._contender

    @property
    def live(self) -> list[Servable]:
        """All that must know of every write: what serves, and what is on trial."""
        found = [self._servable, self._contender.servable if self._contender else None]
        return [servable for servable in found if servable is not None]

    def serving(self, version: str | None, user_id: str | None = None) -> Servable:
        """The Servable of this version; None = the one that serves this user, or those without a name.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: the version neither serves nor is on trial.
        """
        servable = self.current
        if version is None:
            return self._contender.servable if self._contender and self.arm_of(user_id) == "challenger" else servable
        for each in self.live:
            if each.version == version:
                return each
        raise ModelNotServing(version, servable.version)

    def arm_of(self, user_id: str | None) -> Arm:
        """In which arm of a split test a user is: always the same one as long as the trial lasts."""
        contender = self._contender
        if user_id is None or contender is None or contender.mode != "split":
            return "current"
        digest = blake2b(f"{contender.servable.version}\0{user_id}".encode(), digest_size=8).digest()
        return "challenger" if int.from_bytes(digest) < contender.share * 2**64 else "current"

    @property
    def peek(self) -> Servable | None:
        """The Servable that serves, or None."""
        return self._servable

    def explain(self, reason: str) -> None:
        """Notes why nothing serves; without effect once something does."""
        self._reason = reason

    def challenge(self, contender: Contender | None) -> None:
        """Puts a version on trial; call it inside ``exchanging()``. None ends the trial, at any time.

        What is being written then, the version may lack for good: nobody tells it any more, and its follower takes for
        known what comes from here. So whoever lets it serve later has to read again all that came since it began.
        """
        before = self._contender
        if before and contender is None:
            before.servable.followed = self._complete
        if contender and (before is None or before.servable is not contender.servable):
            self._complete = contender.servable.followed
        self._contender = contender

    def exchange(self, servable: Servable) -> None:
        """Makes another Servable serve, in one step; call it inside ``exchanging()``."""
        if self._contender and self._contender.servable is servable:
            self._contender = None
        if self._servable:
            servable.newcomers.inherit(self._servable.newcomers)
        self._servable = servable

    def release(self) -> None:
        """Lets go of what serves, and of the files it is mapped from; the app may be kept by others for longer."""
        self._servable = self._contender = None
        self._reason = "the service has ended"

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Keeps the Servable from being exchanged meanwhile."""
        while self._closed:
            await self._opened.wait()
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1
            if not self._writers:
                self._idle.set()

    @asynccontextmanager
    async def exchanging(self) -> AsyncIterator[None]:
        """Waits until nobody writes and lets nobody begin."""
        while self._closed:
            await self._opened.wait()
        self._closed, self._opened = True, anyio.Event()
        try:
            while self._writers:
                self._idle = anyio.Event()
                await self._idle.wait()
            yield
        finally:
            self._closed = False
            self._opened.set()
