"""What is made before anybody asks, after a start and after every exchange of versions: labels, and lists.

The labels of the most popular items are at hand soon; to make them when lists are made would slow these down. Lists of
known users are searched for.

The users with the longest histories come first, in blocks that share a pass over the index, which remembers what it
finds. Requests come first: while lists are asked for, blocks follow each other slowly.
"""

import logging
import time
from collections.abc import Sequence

import anyio
import numpy as np
from anyio import CapacityLimiter, to_thread

from service.fast_path import FastPath
from service.handle import ServableHandle
from service.labels import MOST, Labels
from service.lists import Wish
from service.servable import Servable

logger = logging.getLogger(__name__)

_BLOCK = 16  # searches of one pass: some milliseconds in a catalogue of usual size
_LABELS = 256  # that are made in one go: a millisecond's worth
_IDLE, _BUSY = 1.0, 19.0  # times as long as a block took is rested, while nobody asks and while somebody does


class Labelling:
    """Has labels of what serves at hand.

    Args:
        handle: says what serves.
        labels: makes and keeps them.
    """

    def __init__(self, handle: ServableHandle, labels: Labels) -> None:
        self._handle = handle
        self._labels = labels
        self._limiter = CapacityLimiter(1)

    async def run(self, poll_s: float) -> None:
        """Makes labels of every version that comes to serve, until cancelled."""
        labelled: str | None = None
        while True:
            version = _version(self._handle)
            if version is not None and version != labelled:
                await self._label(version)
                labelled = version
            await anyio.sleep(poll_s)

    async def _label(self, version: str) -> None:
        rows = await to_thread.run_sync(self._rows, limiter=self._limiter)
        for start in range(0, len(rows), _LABELS):
            if _version(self._handle) != version:
                return
            begun = time.monotonic()
            try:
                await to_thread.run_sync(self._learn, rows[start : start + _LABELS], limiter=self._limiter)
            except Exception:  # they can as well be made when they are wanted
                logger.exception("labelling_failed", extra={"version": version})
                return
            await anyio.sleep(time.monotonic() - begun)

    def _rows(self) -> list[int]:
        servable = self._handle.peek
        return most_popular(servable, MOST // 2) if servable else []

    def _learn(self, rows: Sequence[int]) -> None:
        servable = self._handle.peek
        if servable and max(rows) < len(servable.bundle.items):
            self._labels.learn(servable, rows)


class Warming:
    """Has the index of what serves remember the lists of its users.

    Args:
        handle: says what serves.
        fast_path: knows what a user's list takes.
        k: the list length that is expected.
        most: how many lists the index remembers.
    """

    def __init__(self, handle: ServableHandle, fast_path: FastPath, k: int, most: int) -> None:
        self._handle = handle
        self._fast_path = fast_path
        self._wish = Wish(k)
        self._most = most
        self._limiter = CapacityLimiter(1)

    async def run(self, poll_s: float) -> None:
        """Warms every version that comes to serve, until cancelled."""
        warmed: str | None = None
        while True:
            version = _version(self._handle)
            if version is not None and version != warmed and self._fast_path.expectant:
                await self._warm(version)
                warmed = version
            await anyio.sleep(poll_s)

    async def _warm(self, version: str) -> None:
        started, lists = time.monotonic(), 0
        rows = await to_thread.run_sync(self._rows, limiter=self._limiter)
        for start in range(0, len(rows), _BLOCK):
            if _version(self._handle) != version:
                return
            asked, begun = self._fast_path.asked, time.monotonic()
            try:
                lists += await to_thread.run_sync(self._search, rows[start : start + _BLOCK], limiter=self._limiter)
            except Exception:  # they can as well be made when they are asked for
                logger.exception("warming_failed", extra={"version": version})
                return
            rest = _IDLE if self._fast_path.asked == asked else _BUSY
            await anyio.sleep(rest * (time.monotonic() - begun))
        logger.info("lists_warmed", extra={"lists": lists, "seconds": round(time.monotonic() - started, 3)})

    # What serves is asked for anew each time: a version that serves no more is to have its memory back at once.

    def _rows(self) -> list[int]:
        servable = self._handle.peek
        return most_active(servable, self._most) if servable else []

    def _search(self, rows: Sequence[int]) -> int:
        servable = self._handle.peek
        if servable is None:
            return 0
        users = servable.bundle.users.ids(rows) if max(rows) < len(servable.bundle.users) else []
        expected = [self._fast_path.expected(servable, user_id, self._wish) for user_id in users]
        queries = [query for query in expected if query and servable.index.recall(query) is None]
        servable.index.search_many(queries)
        return len(queries)


def _version(handle: ServableHandle) -> str | None:
    return handle.peek.version if handle.peek else None


def most_popular(servable: Servable, most: int) -> list[int]:
    """The rows of the items that were most popular in training, as many as are wanted."""
    rows: list[int] = np.argsort(-servable.bundle.popularity, kind="stable")[:most].tolist()
    return rows


def most_active(servable: Servable, most: int) -> list[int]:
    """The rows of the users with the longest histories in training, the longest first, as many as are wanted."""
    lengths = np.diff(servable.bundle.seen_indptr)
    rows: list[int] = np.argsort(-lengths, kind="stable")[:most].tolist()
    return rows
