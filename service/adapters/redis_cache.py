"""The feature cache in Redis. It may lose anything, answer late or be away: every failure is a miss."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.adapters.encoding_format import pack, unpack
from service.domain import Encoding, ModelIdentity

logger = logging.getLogger(__name__)

_CHUNK = 256
_FAILURES_TO_OPEN = 3
_OPEN_S = 2.0

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
    """Encodings in Redis under ``i3rec:2:enc:<namespace>:<sha256 of the model's manifest>:<seq>:<item_id>``.

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
        self._prefix = f"i3rec:2:enc:{namespace}"
        self._breaker = CircuitBreaker()
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a retry would be waited for; the next request is the retry
            protocol=2,  # under RESP3 the pool hands out connections that the server has closed meanwhile
        )

    async def get_many(self, model: ModelIdentity, keys: Sequence[tuple[str, int]]) -> list[Encoding | None]:
        """The cached encodings of (item_id, seq) pairs; None for each miss, what is damaged included."""
        found: list[Encoding | None] = []
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            names = [self._key(model, *key) for key in chunk]
            misses: list[bytes | None] = [None] * len(chunk)
            values = await self._guarded(partial(self._mget, names), misses)
            read = [None if value is None else unpack(value, model.version) for value in values]
            if damaged := read.count(None) - values.count(None):
                logger.warning("cached_encodings_damaged", extra={"version": model.version, "encodings": damaged})
            found += read
        return found

    async def put_many(self, model: ModelIdentity, encodings: Mapping[tuple[str, int], Encoding]) -> None:
        """Stores encodings; what cannot be stored is left out."""
        entries = iter(encodings.items())
        while chunk := list(islice(entries, _CHUNK)):
            pipeline = self._redis.pipeline(transaction=False)
            for (item_id, seq), encoding in chunk:
                pipeline.set(self._key(model, item_id, seq), pack(encoding), ex=self._ttl_s)
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

    def _key(self, model: ModelIdentity, item_id: str, seq: int) -> str:
        return f"{self._prefix}:{model.manifest}:{seq}:{item_id}"

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
