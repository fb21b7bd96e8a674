"""A cache into which somebody else has written, under a running service."""

from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from service.adapters.encoding_format import pack, unpack
from service.settings import Settings

pytestmark = pytest.mark.anyio

BODY = {"item_id": "x", "modalities": {"text": [1.0, 2.0, 3.0, 4.0]}}


@pytest.fixture
def settings(settings: Settings, redis_server: Any) -> Settings:
    """An app with Redis, whose starts encode what the cache does not have."""
    return settings.model_copy(update={"redis_url": redis_server.url, "checkpoint_every_s": 0, "cache_timeout_s": 5.0})


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": "high"},
        {"confidence": None},
        {"confidence": 7.0},
        {"embedding": np.full(5, np.nan, np.float32)},
        {"embedding": np.full(5, 1e6, np.float32)},
        {"embedding": np.ones(1_000_000, np.float32)},
        {"present": (), "missing": ()},
    ],
    ids=["text", "nothing", "beyond 1", "nan", "long", "many numbers", "no names"],
)
async def test_wrong_entries_are_made_again(
    run_app: Any, settings: Settings, redis_server: Any, change: dict[str, Any]
) -> None:
    """After a restart the item is as it was, can be patched, and the entry is put right."""
    redis = Redis.from_url(redis_server.url)
    async with run_app(settings) as running:
        await running.client.post("/items", json=BODY)
        before = (await running.client.get("/items/x")).json()
        vector = running.services.handle.current.vector("x")
    (key,) = await redis.keys("i3rec:*:enc:*")
    sound = await redis.get(key)
    await redis.set(key, pack(unpack(sound, "v1")._replace(**change)))

    async with run_app(settings) as running:
        after = (await running.client.get("/items/x")).json()
        patched = await running.client.patch("/items/x", json={"title": "T"})
        np.testing.assert_allclose(running.services.handle.current.vector("x"), vector, rtol=1e-5)

    assert after == before
    assert (patched.status_code, patched.json()["encoding"]) == (200, before["encoding"])
    assert await redis.get(key) == sound
    await redis.aclose()
