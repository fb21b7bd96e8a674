"""Conformance of every FeatureCache, and of Redis where things go wrong."""

import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from service.adapters.memory import MemoryCache
from service.adapters.redis_cache import CircuitBreaker, RedisCache, pack, unpack
from service.domain import Encoding
from service.ports import FeatureCache


def encoding(value: float = 0.1, *, version: str = "v1", history: bool = True) -> Encoding:
    """An encoding of dimension 2."""
    return Encoding(
        embedding=np.array([value, -value], np.float32),
        history_embedding=np.array([value, value], np.float32) if history else None,
        confidence=0.7,
        present=("text",),
        missing=("image",),
        model_version=version,
    )


def facts(value: Encoding | None) -> object:
    """Everything of an encoding, comparable."""
    if value is None:
        return None
    history = None if value.history_embedding is None else value.history_embedding.tolist()
    rest = (value.confidence, value.present, value.missing, value.model_version)
    return value.embedding.tolist(), history, *rest


def redis_cache(url: str, namespace: str = "j1") -> RedisCache:
    """A cache on a server."""
    return RedisCache(url, ttl_s=60, timeout_s=0.3, namespace=namespace)


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[FeatureCache]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryCache(1000)
        return
    made = redis_cache(request.getfixturevalue("redis_server").url)
    yield made
    await made.close()


@pytest.mark.anyio
async def test_cache_gives_back_what_was_put(cache: FeatureCache) -> None:
    """Hits come back whole and in the order of the keys; another seq, item or version is a miss."""
    await cache.put_many({("a", 1): encoding(1), ("b/ü:", 2): encoding(2, history=False)})

    found = await cache.get_many("v1", [("b/ü:", 2), ("a", 2), ("a", 1), ("c", 1)])

    assert [facts(e) for e in found] == [facts(encoding(2, history=False)), None, facts(encoding(1)), None]
    assert await cache.get_many("v2", [("a", 1)]) == [None]
    assert await cache.get_many("v1", []) == []


@pytest.mark.anyio
async def test_cache_takes_many_at_once(cache: FeatureCache) -> None:
    """More keys than fit into one round trip are no different."""
    await cache.put_many({(str(n), n): encoding(n) for n in range(700)})

    found = await cache.get_many("v1", [(str(n), n) for n in range(701)])

    assert [e is not None for e in found] == [True] * 700 + [False]


@pytest.mark.anyio
async def test_cache_replaces_and_is_healthy(cache: FeatureCache) -> None:
    """The last encoding of a key holds, and a cache that works says so."""
    await cache.put_many({("a", 1): encoding(1)})
    await cache.put_many({("a", 1): encoding(3)})

    assert facts((await cache.get_many("v1", [("a", 1)]))[0]) == facts(encoding(3))
    assert await cache.ping()
    assert cache.healthy


@pytest.mark.anyio
async def test_memory_cache_forgets_the_least_recently_used() -> None:
    """Beyond its bound, what was not used for longest goes."""
    cache = MemoryCache(2)
    await cache.put_many({("a", 1): encoding(), ("b", 1): encoding()})
    await cache.get_many("v1", [("a", 1)])

    await cache.put_many({("c", 1): encoding()})

    found = await cache.get_many("v1", [("a", 1), ("b", 1), ("c", 1)])
    assert [e is not None for e in found] == [True, False, True]


@pytest.mark.anyio
async def test_redis_entries_expire_and_belong_to_a_journal(redis_server: Any) -> None:
    """Every key is prefixed, has a time to live, and is not found by the service of another journal."""
    cache, other = redis_cache(redis_server.url), redis_cache(redis_server.url, "j2")
    await cache.put_many({("a", 7): encoding()})
    raw = Redis.from_url(redis_server.url)

    assert await raw.keys() == [b"i3rec:1:enc:j1:v1:7:a"]
    assert 0 < await raw.ttl("i3rec:1:enc:j1:v1:7:a") <= 60
    assert await other.get_many("v1", [("a", 7)]) == [None]
    for client in (cache, other):
        await client.close()
    await raw.aclose()


@pytest.mark.anyio
async def test_redis_garbage_is_a_miss(redis_server: Any) -> None:
    """Values of other bytes or other types are misses, and no sign of trouble."""
    cache, raw = redis_cache(redis_server.url), Redis.from_url(redis_server.url)
    sound = pack(encoding())
    values = [b"", b"x", sound[:-1], sound + b"x", sound[:9] + bytes([sound[9] ^ 1]) + sound[10:]]
    for n, value in enumerate(values):
        await raw.set(f"i3rec:1:enc:j1:v1:{n}:a", value)
    await raw.lpush("i3rec:1:enc:j1:v1:99:a", "x")

    found = await cache.get_many("v1", [("a", n) for n in [*range(len(values)), 99]])

    assert found == [None] * 6
    assert cache.healthy
    await cache.close()
    await raw.aclose()


@pytest.mark.anyio
async def test_redis_may_die_and_come_back(redis_server: Any) -> None:
    """A dead server means misses, quickly, and unhealthy; once it is back, a ping closes the circuit."""
    cache = redis_cache(redis_server.url)
    await cache.put_many({("a", 1): encoding()})
    redis_server.kill()

    started = time.monotonic()
    for _ in range(50):
        assert await cache.get_many("v1", [("a", 1)]) == [None]
        await cache.put_many({("a", 2): encoding()})
    assert time.monotonic() - started < 2
    assert not cache.healthy
    assert not await cache.ping()

    redis_server.start()
    cache._breaker._closed_from = 0  # white box: instead of waiting for the open circuit to allow a trial
    assert await cache.ping()
    assert cache.healthy
    await cache.put_many({("a", 1): encoding()})
    assert facts((await cache.get_many("v1", [("a", 1)]))[0]) == facts(encoding())
    await cache.close()


def test_breaker_tries_one_call_after_a_while() -> None:
    """After three failures no call is made for two seconds, then one; a success closes the circuit."""
    now = 100.0
    breaker = CircuitBreaker(clock=lambda: now)
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()

    assert not breaker.allows()
    now += 2.1
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.succeeded()
    assert breaker.allows()
    assert breaker.healthy


@given(st.binary(max_size=200))
def test_unpack_never_raises(value: bytes) -> None:
    """Any bytes at all are a miss."""
    assert unpack(value, "v1") is None


@given(st.integers(0), st.integers(1, 255))
def test_unpack_notices_any_changed_byte(place: int, change: int) -> None:
    """One changed byte anywhere makes a miss."""
    value = bytearray(pack(encoding()))
    value[place % len(value)] ^= change

    assert unpack(bytes(value), "v1") is None
