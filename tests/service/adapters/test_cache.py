"""Conformance of every FeatureCache, and of Redis where things go wrong."""

import struct
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from service.adapters.encoding_format import pack, unpack
from service.adapters.memory import MemoryCache
from service.adapters.redis_cache import CircuitBreaker, RedisCache
from service.domain import Encoding, ModelIdentity
from service.ports import FeatureCache

V1, V2, OTHER_V1 = ModelIdentity("v1", "1" * 64), ModelIdentity("v2", "2" * 64), ModelIdentity("v1", "3" * 64)
HEADER = {"confidence": 0.7, "present": ["text"], "missing": ["image"], "vectors": 2}


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


def sealed(header: object, numbers: list[float]) -> bytes:
    """An entry of the cache whose checksum is right, whatever it says."""
    text = orjson.dumps(header)
    body = struct.pack("<I", len(text)) + text + np.array(numbers, "<f4").tobytes()
    return struct.pack("<I", zlib.crc32(body)) + body


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
    """Hits come back whole and in the order of the keys; another seq, item or model is a miss, whatever its name."""
    await cache.put_many(V1, {("a", 1): encoding(1), ("b/ü:", 2): encoding(2, history=False)})

    found = await cache.get_many(V1, [("b/ü:", 2), ("a", 2), ("a", 1), ("c", 1)])

    assert [facts(e) for e in found] == [facts(encoding(2, history=False)), None, facts(encoding(1)), None]
    assert await cache.get_many(V2, [("a", 1)]) == [None]
    assert await cache.get_many(OTHER_V1, [("a", 1)]) == [None]
    assert await cache.get_many(V1, []) == []


@pytest.mark.anyio
async def test_cache_takes_many_at_once(cache: FeatureCache) -> None:
    """More keys than fit into one round trip are no different."""
    await cache.put_many(V1, {(str(n), n): encoding(n) for n in range(700)})

    found = await cache.get_many(V1, [(str(n), n) for n in range(701)])

    assert [e is not None for e in found] == [True] * 700 + [False]


@pytest.mark.anyio
async def test_cache_replaces_and_is_healthy(cache: FeatureCache) -> None:
    """The last encoding of a key holds, and a cache that works says so."""
    await cache.put_many(V1, {("a", 1): encoding(1)})
    await cache.put_many(V1, {("a", 1): encoding(3)})

    assert facts((await cache.get_many(V1, [("a", 1)]))[0]) == facts(encoding(3))
    assert await cache.ping()
    assert cache.healthy


@pytest.mark.anyio
async def test_memory_cache_forgets_the_least_recently_used() -> None:
    """Beyond its bound, what was not used for longest goes."""
    cache = MemoryCache(2)
    await cache.put_many(V1, {("a", 1): encoding(), ("b", 1): encoding()})
    await cache.get_many(V1, [("a", 1)])

    await cache.put_many(V1, {("c", 1): encoding()})

    found = await cache.get_many(V1, [("a", 1), ("b", 1), ("c", 1)])
    assert [e is not None for e in found] == [True, False, True]


@pytest.mark.anyio
async def test_redis_entries_expire_and_belong_to_a_journal(redis_server: Any) -> None:
    """Every key is prefixed, has a time to live, and is not found by the service of another journal."""
    cache, other = redis_cache(redis_server.url), redis_cache(redis_server.url, "j2")
    await cache.put_many(V1, {("a", 7): encoding()})
    raw = Redis.from_url(redis_server.url)

    assert await raw.keys() == [f"i3rec:2:enc:j1:{V1.manifest}:7:a".encode()]
    assert 0 < await raw.ttl(f"i3rec:2:enc:j1:{V1.manifest}:7:a") <= 60
    assert await other.get_many(V1, [("a", 7)]) == [None]
    for client in (cache, other):
        await client.close()
    await raw.aclose()


@pytest.mark.anyio
async def test_redis_garbage_is_a_miss(redis_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Values of other bytes or other types are misses, and no sign of trouble; the log counts the former."""
    cache, raw = redis_cache(redis_server.url), Redis.from_url(redis_server.url)
    sound = pack(encoding())
    values = [b"", b"x", sound[:-1], sound + b"x", sound[:9] + bytes([sound[9] ^ 1]) + sound[10:]]
    for n, value in enumerate(values):
        await raw.set(f"i3rec:2:enc:j1:{V1.manifest}:{n}:a", value)
    await raw.lpush(f"i3rec:2:enc:j1:{V1.manifest}:99:a", "x")

    found = await cache.get_many(V1, [("a", n) for n in [*range(len(values)), 99]])

    assert found == [None] * 6
    assert cache.healthy
    (told,) = [record for record in caplog.records if record.message == "cached_encodings_damaged"]
    assert (told.version, told.encodings) == ("v1", 5)
    await cache.close()
    await raw.aclose()


@pytest.mark.anyio
async def test_redis_may_die_and_come_back(redis_server: Any) -> None:
    """A dead server means misses, quickly, and unhealthy; once it is back, a ping closes the circuit."""
    cache = redis_cache(redis_server.url)
    await cache.put_many(V1, {("a", 1): encoding()})
    redis_server.kill()

    started = time.monotonic()
    for _ in range(50):
        assert await cache.get_many(V1, [("a", 1)]) == [None]
        await cache.put_many(V1, {("a", 2): encoding()})
    assert time.monotonic() - started < 2
    assert not cache.healthy
    assert not await cache.ping()

    redis_server.start()
    cache._breaker._closed_from = 0  # white box: instead of waiting for the open circuit to allow a trial
    assert await cache.ping()
    assert cache.healthy
    await cache.put_many(V1, {("a", 1): encoding()})
    assert facts((await cache.get_many(V1, [("a", 1)]))[0]) == facts(encoding())
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


def test_sealed_entries_are_read() -> None:
    """So the entries below are refused for what they say."""
    assert facts(unpack(sealed(HEADER, [1, 2, 3, 4]), "v1")) == ([1, 2], [3, 4], 0.7, ("text",), ("image",), "v1")
    assert pack(encoding(1)) == sealed(HEADER, [1, -1, 1, 1])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", range(4))
def test_entries_that_are_not_finite_are_misses(number: float, place: int) -> None:
    """In either vector."""
    numbers = [0.0] * 4
    numbers[place] = number

    assert unpack(sealed(HEADER, numbers), "v1") is None


@pytest.mark.parametrize(
    "change",
    [
        *({"confidence": value} for value in (None, "high", True, [], 1.5, -0.1, 1e30)),
        *({name: value} for name in ("present", "missing") for value in (None, "text", [1], {"text": 1}, [None])),
        *({"vectors": value} for value in (0, 3, -1, 4, True, 2.0, "2", None)),
    ],
    ids=str,
)
def test_entries_that_say_what_no_encoding_says_are_misses(change: dict[str, Any]) -> None:
    """Other types, a confidence out of range, another number of vectors; their checksum may well be right."""
    assert unpack(sealed(HEADER | change, [0] * 12), "v1") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries({name: JSON | st.just(value) for name, value in HEADER.items()}) | JSON,
    st.lists(st.floats(width=32), max_size=6),
)
def test_entries_are_sound_or_misses(header: object, numbers: list[float]) -> None:
    """Whatever is sealed: what is found has finite vectors of one length, a confidence in [0, 1], names as texts."""
    found = unpack(sealed(header, numbers), "v1")

    if found is not None:
        vectors = [found.embedding, *([] if found.history_embedding is None else [found.history_embedding])]
        assert {(vector.ndim, vector.size, vector.dtype) for vector in vectors} == {
            (1, len(numbers) // len(vectors), np.dtype(np.float32))
        }
        assert all(np.isfinite(vector).all() for vector in vectors)
        assert type(found.confidence) is float
        assert 0 <= found.confidence <= 1
        assert all(type(name) is str for name in found.present + found.missing)
