"""Searches that wait at the same moment share one pass over the index."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio
import numpy as np
import pytest

from service.errors import Overloaded
from service.metrics import Metrics
from service.queries import Hit, Query
from service.searching import Searches

pytestmark = pytest.mark.anyio
WAIT_S = 30


class GatedIndex:
    """Answers a query for k items with its own name and k, once the gate is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.known: dict[str, list[Hit]] = {}
        self.threads: set[int] = set()

    def search_many(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Notes the batch, then waits at the gate."""
        self.batches.append([query.k for query in queries])
        self.threads.add(threading.get_ident())
        assert self.gate.wait(WAIT_S)
        if self.failure:
            raise self.failure
        return [answer_of(self.name, query.k) for query in queries]

    def recall(self, query: Query) -> list[Hit] | None:
        """What is known by key."""
        return self.known.get(query.key or "")


def answer_of(name: str, k: int) -> list[Hit]:
    """What an index answers."""
    return [Hit(name, float(k))]


def ask_for(k: int, key: str | None = None) -> Query:
    """A query that can be told from others by its k."""
    return Query(np.zeros(2, np.float32), k, key=key)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    with anyio.fail_after(WAIT_S):
        while True:
            if condition():
                return
            await anyio.sleep(0.001)


@contextmanager
def opened(metrics: Metrics | None = None, **how: float) -> Iterator[Searches]:
    """Searches, closed at the end."""
    searches = Searches((metrics or Metrics()).search, **how)
    try:
        yield searches
    finally:
        searches.close()


@pytest.fixture
async def index() -> AsyncIterator[GatedIndex]:
    """An index whose gate is open, at the end at the latest."""
    made = GatedIndex("one")
    yield made
    made.gate.set()


def start(searches: Searches, index: GatedIndex, *ks: int) -> list[asyncio.Task[list[Hit]]]:
    """Searches that run beside the test."""
    return [asyncio.create_task(searches.find(index, ask_for(k))) for k in ks]


async def hold(searches: Searches, index: GatedIndex) -> asyncio.Task[list[Hit]]:
    """A search for 0 items that keeps the thread until the gate opens."""
    index.gate.clear()
    (first,) = start(searches, index, 0)
    await until(lambda: index.batches == [[0]])
    return first


async def test_what_waits_is_searched_together(index: GatedIndex) -> None:
    """The first goes alone and at once; those that come meanwhile share the next pass, and each gets its own answer."""
    metrics = Metrics()
    with opened(metrics) as searches:
        first = await hold(searches, index)
        others = start(searches, index, *range(1, 6))
        await anyio.wait_all_tasks_blocked()
        index.gate.set()
        found = [await first, *[await each for each in others]]

    assert found == [answer_of("one", k) for k in range(6)]
    assert index.batches == [[0], [1, 2, 3, 4, 5]]
    assert metrics.registry.get_sample_value("i3rec_search_batch_queries_count") == 2
    assert metrics.registry.get_sample_value("i3rec_search_batch_queries_sum") == 6


async def test_passes_are_bounded(index: GatedIndex) -> None:
    """Thirty-two at most share one; the others make the next."""
    with opened() as searches:
        await hold(searches, index)
        others = start(searches, index, *range(1, 73))
        await anyio.wait_all_tasks_blocked()
        index.gate.set()
        found = [await each for each in others]

    assert found == [answer_of("one", k) for k in range(1, 73)]
    assert [len(batch) for batch in index.batches] == [1, 32, 32, 8]


async def test_each_pass_is_over_one_index(index: GatedIndex) -> None:
    """Where versions are exchanged, everybody is answered by the one they asked."""
    other = GatedIndex("other")
    with opened() as searches:
        await hold(searches, index)
        asked = [(each, k) for k, each in enumerate([index, index, other, index, other, other], start=1)]
        tasks = [start(searches, each, k)[0] for each, k in asked]
        await anyio.wait_all_tasks_blocked()
        index.gate.set()
        found = [await task for task in tasks]

    assert found == [answer_of(each.name, k) for each, k in asked]
    assert (index.batches, other.batches) == ([[0], [1, 2], [4]], [[3], [5, 6]])


async def test_threads_search_at_the_same_time(index: GatedIndex) -> None:
    """As many passes run beside each other as there are threads."""
    with opened(threads=2) as searches:
        first = await hold(searches, index)
        (second,) = start(searches, index, 1)
        await until(lambda: len(index.batches) == 2)
        index.gate.set()

        assert [await first, await second] == [answer_of("one", 0), answer_of("one", 1)]


async def test_failure_reaches_all_who_asked(index: GatedIndex) -> None:
    """And nobody else: the next search is answered."""
    with opened() as searches:
        first = await hold(searches, index)
        others = start(searches, index, 1, 2, 3)
        await anyio.wait_all_tasks_blocked()
        index.failure = RuntimeError("broken index")
        index.gate.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        index.failure = None

        assert [str(each) for each in found] == ["broken index"] * 4
        assert await searches.find(index, ask_for(7)) == answer_of("one", 7)


async def test_too_many_may_not_wait(index: GatedIndex) -> None:
    """One runs, two wait, the next is told to come again; once they are done there is room."""
    with opened(most_waiting=2) as searches:
        first = await hold(searches, index)
        others = start(searches, index, 1, 2)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded, match="2 requests are waiting already"):
            await searches.find(index, ask_for(3))
        index.gate.set()
        await asyncio.gather(first, *others)

        assert await searches.find(index, ask_for(4)) == answer_of("one", 4)
    assert index.batches == [[0], [1, 2], [4]]


async def test_searches_end_in_time(index: GatedIndex) -> None:
    """Who runs and who waits is told when it took too long; what comes out later disturbs nobody."""
    with opened(deadline_s=0.05) as searches:
        first = await hold(searches, index)
        others = start(searches, index, 1, 2)
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(each) for each in found] == [TimeoutError] * 3
        index.gate.set()
    with opened() as searches:
        assert await searches.find(index, ask_for(5)) == answer_of("one", 5)


async def test_whoever_goes_disturbs_nobody(index: GatedIndex) -> None:
    """Of those that run and those that wait some are cancelled: the others are answered, and those not sought for."""
    with opened() as searches:
        first = await hold(searches, index)
        others = start(searches, index, 1, 2, 3)
        await anyio.wait_all_tasks_blocked()
        for task in (first, others[1]):
            task.cancel()
        gone = await asyncio.gather(first, others[1], return_exceptions=True)
        index.gate.set()
        found = [await others[0], await others[2]]

    assert [type(each) for each in gone] == [asyncio.CancelledError] * 2
    assert found == [answer_of("one", 1), answer_of("one", 3)]
    assert index.batches == [[0], [1, 3]]


async def test_nothing_is_sought_for_nobody(index: GatedIndex) -> None:
    """Where all who waited are gone, there is no pass; the thread goes on."""
    with opened() as searches:
        await hold(searches, index)
        others = start(searches, index, 1, 2)
        await anyio.wait_all_tasks_blocked()
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        index.gate.set()

        assert await searches.find(index, ask_for(3)) == answer_of("one", 3)
    assert index.batches == [[0], [3]]


async def test_what_is_remembered_waits_for_nobody(index: GatedIndex) -> None:
    """It is given while the thread is held and the queue is full, and counted."""
    metrics = Metrics()
    with opened(metrics, most_waiting=1) as searches:
        first = await hold(searches, index)
        (other,) = start(searches, index, 1)
        await anyio.wait_all_tasks_blocked()
        index.known = {"ann": answer_of("remembered", 9)}

        found = await searches.find(index, ask_for(9, "ann"))
        index.gate.set()
        await asyncio.gather(first, other)

    assert found == answer_of("remembered", 9)
    recalls = [metrics.registry.get_sample_value("i3rec_search_recalls_total", {"known": k}) for k in ("yes", "no")]
    assert recalls == [1, 2]


async def quick(searches: Searches, index: GatedIndex) -> None:
    """Makes it known that the index is quick."""
    for k in range(3):
        assert await searches.find(index, ask_for(k)) == answer_of(index.name, k)
    index.batches.clear()
    index.threads.clear()


async def test_quick_searches_are_made_on_the_loop(index: GatedIndex) -> None:
    """All that have come are made together, thirty-two at most, once it is known that they take no time."""
    metrics = Metrics()
    with opened(metrics, at_once_s=10) as searches:
        await quick(searches, index)
        found = [await each for each in start(searches, index, *range(72))]

    assert found == [answer_of("one", k) for k in range(72)]
    assert [len(batch) for batch in index.batches] == [32, 32, 8]
    assert index.threads == {threading.get_ident()}
    assert metrics.registry.get_sample_value("i3rec_search_batch_queries_sum") == 75


async def test_slow_searches_are_made_on_threads(index: GatedIndex) -> None:
    """The first, of which nothing is known, and all of an index that takes longer than is wanted on the loop."""
    with opened(at_once_s=1e-9) as searches:
        found = [await each for each in start(searches, index, *range(5))]
        found += [await each for each in start(searches, index, *range(5))]

    assert found == [answer_of("one", k) for k in range(5)] * 2
    assert threading.get_ident() not in index.threads


async def test_quick_and_slow_indexes_are_searched_beside_each_other(index: GatedIndex) -> None:
    """While a thread is held by one index, searches of another one are made on the loop; each gets its own answer."""
    other = GatedIndex("other")
    with opened(at_once_s=10) as searches:
        await quick(searches, other)
        first = await hold(searches, index)
        asked = [(each, k) for k, each in enumerate([other, other, index, other])]
        tasks = [start(searches, each, k)[0] for each, k in asked]
        assert [await tasks[place] for place in (0, 1, 3)] == [answer_of("other", k) for k in (0, 1, 3)]
        index.gate.set()
        assert await tasks[2] == answer_of("one", 2)
        await first


async def test_failure_on_the_loop_reaches_all_who_asked(index: GatedIndex) -> None:
    """And nobody else: the next search is answered. Those who have gone are not sought for."""
    with opened(at_once_s=10) as searches:
        await quick(searches, index)
        index.failure = RuntimeError("broken index")
        found = await asyncio.gather(*start(searches, index, 1, 2, 3), return_exceptions=True)
        index.failure = None
        gone, kept = start(searches, index, 4, 5)
        asyncio.get_running_loop().call_soon(gone.cancel)

        assert [str(each) for each in found] == ["broken index"] * 3
        assert await kept == answer_of("one", 5)
    assert index.batches == [[1, 2, 3], [5]]


async def test_too_many_may_not_wait_for_the_loop(index: GatedIndex) -> None:
    """Of those that come at once some are told to come again."""
    with opened(at_once_s=10, most_waiting=3) as searches:
        await quick(searches, index)
        found = await asyncio.gather(*start(searches, index, *range(5)), return_exceptions=True)

    assert found[:3] == [answer_of("one", k) for k in range(3)]
    assert [type(each) for each in found[3:]] == [Overloaded] * 2


@pytest.mark.parametrize("threads", [1, 3])
async def test_closing_ends_the_threads(index: GatedIndex, threads: int) -> None:
    """Idle ones and busy ones, with searches waiting for several indexes."""
    before = set(threading.enumerate())
    searches, other = Searches(Metrics().search, threads=threads), GatedIndex("other")
    made = set(threading.enumerate()) - before
    index.gate.clear()
    tasks = [start(searches, each, k)[0] for k, each in enumerate([index, other, index, other] * 5)]
    await until(lambda: bool(index.batches))

    closing = asyncio.create_task(asyncio.to_thread(searches.close))
    index.gate.set()
    with anyio.fail_after(WAIT_S):
        await closing

    assert len(made) == threads
    assert not any(thread.is_alive() for thread in made)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_many_threads_and_indexes_answer_everybody() -> None:
    """Each gets their own answer from their own index, whoever else asks or goes meanwhile."""
    indexes = [GatedIndex(name) for name in "abc"]
    with opened(threads=3, most_waiting=10_000) as searches:
        asked = [(indexes[k % 3], k) for k in range(600)]
        tasks = []
        for each, k in asked:
            tasks += start(searches, each, k)
            if k % 7 == 0:
                await asyncio.sleep(0)
            if k % 5 == 0:
                tasks[k // 2].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)

    for (each, k), answer in zip(asked, found, strict=True):
        assert isinstance(answer, asyncio.CancelledError) or answer == answer_of(each.name, k)
    assert sum(isinstance(answer, list) for answer in found) >= 480
