"""The feature cache in Redis. It may lose anything, answer late or be away: every failure is a miss."""

import logging
import struct
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.domain import Encoding

logger = logging.getLogger(__name__)

_CHUNK = 256
_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
_FAILURES_TO_OPEN = 3
_OPEN_S = 2.0
_LITTLE_ENDIAN = np.dtype("<f4")

T = TypeVar("T")


class CircuitBreaker:
    """Keeps calls from a server that does not answer: after some failures in a row none for a while, then a trial."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._closed_from = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the last call went well."""
        return self._failures == 0

    @property
    def is_open(self) -> bool:
        """Whether calls are kept away, but for a trial now and then."""
        return self._failures >= _FAILURES_TO_OPEN

    def allows(self) -> bool:
        """Whether a call may be made now; while the circuit is open, one caller at a time tries."""
        if not self.is_open:
            return True
        if self._clock() < self._closed_from:
            return False
        self._closed_from = self._clock() + _OPEN_S
        return True

    def succeeded(self) -> None:
        """Notes a call that went well."""
        self._failures = 0

    def failed(self) -> None:
        """Notes a failure."""
        self._failures += 1
        self._closed_from = self._clock() + _OPEN_S


class RedisCache:
    """Encodings in Redis under ``i3rec:1:enc:<namespace>:<model_version>:<seq>:<item_id>``.

    Args:
        url: of the server.
        ttl_s: life of an entry.
        timeout_s: how long to wait for a connection or an answer.
        namespace: identity of the journal the seqs belong to; two journals may share a server.
        on_call: is told after each call whether the circuit is open.
    """

    def __init__(
        self,
        url: str,
        *,
        ttl_s: int,
        timeout_s: float,
        namespace: str,
        on_call: Callable[[bool], object] = lambda _: None,
    ) -> None:
        self._ttl_s = ttl_s
        self._on_call = on_call
        self._prefix = f"i3rec:1:enc:{namespace}"
        self._breaker = CircuitBreaker()
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a retry would be waited for; the next request is the retry
            protocol=2,  # under RESP3 the pool hands out connections that the server has closed meanwhile
        )

    async def get_many(self, model_version: str, keys: Sequence[tuple[str, int]]) -> list[Encoding | None]:
        """The cached encodings of (item_id, seq) pairs; None for each miss."""
        found: list[Encoding | None] = []
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            names = [self._key(model_version, *key) for key in chunk]
            misses: list[bytes | None] = [None] * len(chunk)
            values = await self._guarded(partial(self._mget, names), misses)
            found += [None if value is None else unpack(value, model_version) for value in values]
        return found

    async def put_many(self, encodings: Mapping[tuple[str, int], Encoding]) -> None:
        """Stores encodings; what cannot be stored is left out."""
        entries = iter(encodings.items())
        while chunk := list(islice(entries, _CHUNK)):
            pipeline = self._redis.pipeline(transaction=False)
            for (item_id, seq), encoding in chunk:
                pipeline.set(self._key(encoding.model_version, item_id, seq), pack(encoding), ex=self._ttl_s)
            await self._guarded(pipeline.execute, [])

    async def ping(self) -> bool:
        """Whether the server answers now."""
        return await self._guarded(self._ponged, default=False)

    @property
    def healthy(self) -> bool:
        """Whether the last call went well."""
        return self._breaker.healthy

    async def close(self) -> None:
        """Closes the connections."""
        try:
            await self._redis.aclose()
        except (RedisError, OSError, TimeoutError):
            logger.warning("cache_close_failed", exc_info=True)

    async def _ponged(self) -> bool:
        if await self._redis.ping() is not True:
            raise RedisError("expected PONG, found something else")
        return True

    async def _mget(self, names: list[str]) -> list[bytes | None]:
        values: Any = await self._redis.mget(names)
        if not isinstance(values, list) or len(values) != len(names):
            raise RedisError(f"expected {len(names)} values, found something else")
        return [value if isinstance(value, bytes) else None for value in values]

    def _key(self, model_version: str, item_id: str, seq: int) -> str:
        return f"{self._prefix}:{model_version}:{seq}:{item_id}"

    async def _guarded(self, call: Callable[[], Awaitable[T]], default: T) -> T:
        if not self._breaker.allows():
            return default
        try:
            result = await call()
        except (RedisError, OSError, TimeoutError) as exc:
            if self._breaker.healthy:
                logger.warning("cache_failed", extra={"error": repr(exc)})
            self._breaker.failed()
            return default
        except Exception as exc:  # whatever a server answers that the client stumbles over is a miss
            logger.exception("cache_failed", extra={"error": repr(exc)})
            self._breaker.failed()
            return default
        else:
            self._breaker.succeeded()
            return result
        finally:
            self._on_call(self._breaker.is_open)


def pack(encoding: Encoding) -> bytes:
    """An encoding as bytes: CRC32 of the rest, length of the header, header (JSON), then float32 vectors."""
    vectors = [encoding.embedding]
    if encoding.history_embedding is not None:
        vectors.append(encoding.history_embedding)
    header = orjson.dumps(
        {
            "confidence": encoding.confidence,
            "present": encoding.present,
            "missing": encoding.missing,
            "vectors": len(vectors),
        }
    )
    body = _LENGTH.pack(len(header)) + header + b"".join(v.astype(_LITTLE_ENDIAN).tobytes() for v in vectors)
    return _CRC.pack(zlib.crc32(body)) + body


def unpack(value: bytes, model_version: str) -> Encoding | None:
    """The encoding that was packed; None where the bytes are anything else."""
    try:
        (crc,), body = _CRC.unpack_from(value), value[_CRC.size :]
        if zlib.crc32(body) != crc:
            return None
        (length,) = _LENGTH.unpack_from(body)
        start = _LENGTH.size + length
        header = orjson.loads(body[_LENGTH.size : start])
        floats = np.frombuffer(body, dtype=_LITTLE_ENDIAN, offset=start).astype(np.float32)
        vectors = floats.reshape(header["vectors"], -1)
        return Encoding(
            embedding=vectors[0],
            history_embedding=vectors[1] if len(vectors) > 1 else None,
            confidence=header["confidence"],
            present=tuple(header["present"]),
            missing=tuple(header["missing"]),
            model_version=model_version,
        )
    except (struct.error, ValueError, KeyError, TypeError, IndexError):
        return None
