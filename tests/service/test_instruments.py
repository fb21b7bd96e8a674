"""What the writing side tells in metrics."""

import math
import random
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import numpy as np
import pytest

from model_store import Challenger, ModelStore
from service.adapters.memory import MemoryJournal
from service.adapters.redis_cache import CircuitBreaker, RedisCache
from service.adapters.sql_journal import SqlJournal
from service.domain import DeleteItem, Encoding
from service.errors import StorageUnavailable
from service.following import keep_compact
from service.metrics import Metrics
from service.settings import Settings

pytestmark = pytest.mark.anyio

TEXT = [1.0, 2.0, 3.0, 4.0]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """One sample of an app's metrics."""
    return metrics.registry.get_sample_value(name, labels)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    with anyio.fail_after(30):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


async def test_written_items_tell_batch_confidence_and_length(running: Any) -> None:
    """Every encoding has its batch; every item written with one its confidence and the length of its vector."""
    await running.client.post("/items", json={"item_id": "a", "modalities": {"text": TEXT}})
    batch = [{"item_id": f"b{n}", "modalities": {"text": TEXT}} for n in range(3)]
    await running.client.post("/items/batch", json=batch)

    metrics = running.services.metrics
    assert value(metrics, "i3rec_encode_batch_items_sum", source="item") == 1
    assert value(metrics, "i3rec_encode_batch_items_count", source="batch") == 1
    assert value(metrics, "i3rec_encode_batch_items_sum", source="batch") == 3
    assert value(metrics, "i3rec_encode_confidence_count") == 4
    assert value(metrics, "i3rec_embedding_norm_ratio_count") == 4
    assert value(metrics, "i3rec_new_items") == 4


async def test_lengths_are_told_in_lengths_of_trained_vectors(running: Any) -> None:
    """A vector as long as the trained ones are on average is told as 1, one twice as long as 2."""
    servable = running.services.handle.current
    typical = float(np.linalg.norm(np.array(servable.bundle.item_embeddings), axis=1).mean())
    metrics = running.services.metrics
    vector = np.zeros(5, np.float32)
    vector[0] = 2 * typical

    metrics.encoding.note(Encoding(vector, None, 0.5, (), (), "v1"))

    assert value(metrics, "i3rec_embedding_norm_ratio_sum") == pytest.approx(2)


def test_huge_vectors_have_a_length() -> None:
    """Numbers whose squares float32 cannot hold are told all the same."""
    metrics = Metrics()
    metrics.encoding.compare_with(1.0)

    metrics.encoding.note(Encoding(np.full(2, 3e38, np.float32), None, 0.5, (), (), "v1"))

    assert value(metrics, "i3rec_embedding_norm_ratio_sum") == pytest.approx(3e38 * 2**0.5)


async def test_replay_tells_hits_misses_and_batches(run_app: Any, settings: Settings) -> None:
    """A start with an empty cache and no checkpoint looks for each item, finds none, and encodes them together."""
    settings = settings.model_copy(update={"checkpoint_every_s": 0})
    async with run_app(settings) as first:
        for name in "abc":
            await first.client.post("/items", json={"item_id": name, "modalities": {"text": TEXT}})

    async with run_app(settings) as second:
        metrics = second.services.metrics

        assert value(metrics, "i3rec_cache_lookups_total", result="miss") == 3
        assert value(metrics, "i3rec_cache_lookups_total", result="hit") == 0
        assert value(metrics, "i3rec_encode_batch_items_sum", source="replay") == 3


async def test_queue_for_the_encoder_is_told(running: Any) -> None:
    """While every thread for encodings is taken, the gauge says how many requests wait for one."""
    metrics, limiter = running.services.metrics, running.services.catalog._limits.encode
    borrowers = [object() for _ in range(int(limiter.total_tokens))]
    for borrower in borrowers:
        await limiter.acquire_on_behalf_of(borrower)

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(partial(running.client.post, "/items", json={"item_id": name}))
        await until(lambda: value(metrics, "i3rec_encode_waiting_requests") == 3)
        for borrower in borrowers:
            limiter.release_on_behalf_of(borrower)

    assert value(metrics, "i3rec_encode_waiting_requests") == 0


async def test_flushes_and_failures_are_told(running: Any, tmp_path: Path) -> None:
    """A write that is on disk has its time; one the database refuses is counted, and degrades."""
    await running.client.post("/items", json={"item_id": "a"})
    metrics = running.services.metrics
    assert value(metrics, "i3rec_journal_flush_seconds_count") == 1
    assert value(metrics, "i3rec_degraded", reason="journal") == 0

    with sqlite3.connect(tmp_path / "journal.sqlite3") as database:
        database.execute("CREATE TRIGGER refuse BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'no'); END")
    database.close()
    assert (await running.client.post("/items", json={"item_id": "b"})).status_code == 503

    assert value(metrics, "i3rec_journal_failures_total", reason="unavailable") == 1
    assert value(metrics, "i3rec_journal_failures_total", reason="full") == 0
    assert value(metrics, "i3rec_journal_flush_seconds_count") == 1
    assert value(metrics, "i3rec_degraded", reason="journal") == 1


def test_journals_need_no_observer(tmp_path: Path) -> None:
    """Commands for operators open a journal that nobody watches."""
    journal = SqlJournal(f"sqlite:///{tmp_path}/j.sqlite3")

    assert journal.append(DeleteItem("a")).result().seq == 1

    journal.close()


async def test_compactions_are_counted() -> None:
    """What was removed is counted, and an attempt that failed as one."""

    class Trouble(MemoryJournal):
        """Removes 7 records once, then nothing any more."""

        turns = 0

        def compact(self) -> int:
            """Works at first."""
            self.turns += 1
            if self.turns > 1:
                raise StorageUnavailable("full")
            return 7

    metrics = Metrics()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_compact, Trouble(), 0.001, metrics)
        await until(lambda: bool(value(metrics, "i3rec_journal_compactions_total", result="failed")))
        tasks.cancel_scope.cancel()

    assert value(metrics, "i3rec_journal_compactions_total", result="done") == 1
    assert value(metrics, "i3rec_journal_compacted_records_total") == 7


async def test_models_tell_age_swaps_and_failures(
    running: Any, published_store: ModelStore, make_version: Callable[..., None]
) -> None:
    """The age is that of the bundle; an exchange has its time; a version that cannot be loaded degrades."""
    metrics = running.services.metrics
    made = running.services.handle.current.bundle.manifest.created
    age = value(metrics, "i3rec_model_age_seconds")
    assert 0 < (age or 0) <= (datetime.now(UTC) - made).total_seconds()
    assert value(metrics, "i3rec_model_swap_seconds_count") == 1
    assert value(metrics, "i3rec_model_load_failed") == value(metrics, "i3rec_degraded", reason="model") == 0

    make_version(published_store, "broken", encoder=b"no model")
    await running.services.models.promote("broken")

    assert value(metrics, "i3rec_model_load_failed") == value(metrics, "i3rec_degraded", reason="model") == 1
    assert (value(metrics, "i3rec_model_swaps_total", result="failed") or 0) >= 1


async def test_no_model_has_no_age(run_app: Any, settings: Settings, tmp_path: Path) -> None:
    """Without a model the age is no number, and the service says what is missing."""
    async with run_app(settings.model_copy(update={"model_store": tmp_path / "none"})) as running:
        metrics = running.services.metrics

        assert np.isnan(value(metrics, "i3rec_model_age_seconds") or 0)
        assert value(metrics, "i3rec_degraded", reason="model") == 1
        assert value(metrics, "i3rec_model_load_failed") == 0


async def test_trials_tell_share_and_failures(
    running: Any, published_store: ModelStore, make_version: Callable[..., None]
) -> None:
    """The share of a trial can be seen, and a challenger that cannot be loaded is counted."""
    metrics = running.services.metrics
    make_version(published_store, "v2", seed=1, promote=False)
    make_version(published_store, "broken", encoder=b"no model", promote=False)

    published_store.challenge(Challenger("v2", 0.25))
    await until(lambda: value(metrics, "i3rec_trial_share") == 0.25)
    published_store.challenge(Challenger("broken", 0.25))
    await until(lambda: bool(value(metrics, "i3rec_trial_failures_total")))


async def test_unreadable_journals_are_told(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the journal cannot be read, and only then, the history is what is missing."""

    def refuse() -> int:
        raise StorageUnavailable("no")

    metrics, others = running.services.metrics, running.services.others
    with monkeypatch.context() as patch:
        patch.setattr(others._journal, "last_seq", refuse)
        others.wake()
        await until(lambda: value(metrics, "i3rec_degraded", reason="history") == 1)

    others.wake()
    await until(lambda: value(metrics, "i3rec_degraded", reason="history") == 0)


async def test_breaker_is_told(tmp_path: Path) -> None:
    """The third failure in a row opens the circuit; until then it is closed."""
    told: list[bool] = []
    cache = RedisCache(f"unix://{tmp_path}/nobody.sock", ttl_s=60, timeout_s=1, namespace="j", on_call=told.append)

    for _ in range(4):
        await cache.ping()
    await cache.close()

    assert told == [False, False, True]


def test_circuit_closes_with_the_first_success() -> None:
    """What answers again is asked again."""
    breaker = CircuitBreaker()
    for _ in range(3):
        breaker.failed()
    assert breaker.is_open

    breaker.succeeded()

    assert not breaker.is_open


def series(metrics: Metrics) -> set[tuple[str, ...]]:
    """Every series there is, but for those of model versions: operators bring these about, not requests."""
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.values())) for sample in samples}


async def ask_for_everything(client: httpx.AsyncClient, names: list[str], rng: random.Random) -> None:
    """Requests of every kind that carry all these names as paths, ids, modalities and users."""
    lines = [{"item_id": name, "modalities": {name: [1.0]} if rng.random() < 0.5 else {}} for name in names]
    events = [{"user_id": name, "item_id": name, "kind": name} for name in names]
    await client.post("/items/batch", json=lines)
    await client.post("/interactions", json=events)
    await client.post("/recommend/batch", json={"users": names[:100]})
    for name in names[:10]:
        item = {"item_id": name, "modalities": {"text": TEXT}}
        await client.post("/items", json=item, headers={"X-Request-Id": name, "X-API-Key": name})
        await client.post("/items", json={**item, "modalities": {name: TEXT}})
        await client.get(f"/recommend/{name}", params={"model": name})
        await client.get(f"/items/{name}/similar", params={name: name})
        await client.post(f"/models/{name}/activate")
        await client.request(name.upper()[:8], f"/items/{name}")
    for name in names[: len(names) // 4]:
        await client.get(f"/{name}/{name}")


async def ask_every_route(running: Any, names: list[str]) -> set[tuple[str, str]]:
    """Every method of every route, and some that there are not, for each of the names; which routes these were."""
    asked = set()
    for route in running.app.state.routes:
        template = route.path_format
        for name in names:
            path = re.sub(r"\{\w+\}", name, template)
            for method in (*sorted(route.methods), "HEAD", "OPTIONS", "TRACE", name.upper(), "get", f"GET{name}"):
                await running.client.request(method, path, params={name: name}, headers={name: name})
        asked |= {(method, template) for method in route.methods}
    return asked


async def test_no_route_makes_series_of_what_it_is_asked(running: Any) -> None:
    """Whatever the ids, queries, headers and methods, each route has its own few series, and hostile ones share one."""
    rng = random.Random(11)
    names = [f"y{rng.getrandbits(64):x}" for _ in range(12)]
    metrics = running.services.metrics
    asked = await ask_every_route(running, names[:3])
    before = series(metrics)

    await ask_every_route(running, names[3:])

    seen = {
        (sample.labels["method"], sample.labels["route"])
        for family in metrics.registry.collect()
        if family.name == "i3rec_http_requests"
        for sample in family.samples
    }
    assert len(asked) == 18
    assert asked <= seen
    assert {method for method, _ in seen} <= {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "other"}
    assert series(metrics) == before


async def test_series_do_not_grow_with_what_is_asked(running: Any) -> None:
    """10,000 random names as paths, methods, ids, modalities, users and keys leave the number of series as it was."""
    rng = random.Random(7)
    metrics = running.services.metrics
    names = [f"x{rng.getrandbits(64):x}" for _ in range(10_000)]
    await ask_for_everything(running.client, names[:100], rng)
    before = series(metrics)

    for start in range(0, len(names), 1000):
        await ask_for_everything(running.client, names[start : start + 1000], rng)

    assert series(metrics) == before


async def test_index_tells_what_it_is_made_of(running: Any) -> None:
    """Rows of the delta and rows that are gone show at once; together, what is listed is what can be found."""
    metrics = running.services.metrics
    assert value(metrics, "i3rec_index_rows", segment="main", state="listed") == 12

    await running.client.post("/items", json={"item_id": "a", "modalities": {"text": TEXT}})
    await running.client.post("/items", json={"item_id": "a", "modalities": {"text": [1, 1, 1, 1]}})
    await running.client.delete("/items/i03")

    rows = {
        (segment, state): value(metrics, "i3rec_index_rows", segment=segment, state=state)
        for segment in ("main", "delta")
        for state in ("listed", "gone")
    }
    assert rows == {("main", "listed"): 11, ("main", "gone"): 1, ("delta", "listed"): 1, ("delta", "gone"): 1}
    assert value(metrics, "i3rec_index_items") == 12


async def test_foldings_are_counted(running: Any) -> None:
    """Those that were done, with their time, and those that failed."""
    metrics = running.services.metrics

    metrics.search.folded(0.2)
    metrics.search.folded(None)

    assert value(metrics, "i3rec_index_folds_total", result="done") == 1
    assert value(metrics, "i3rec_index_folds_total", result="failed") == 1
    assert value(metrics, "i3rec_index_fold_seconds_sum") == pytest.approx(0.2)


async def test_lists_tell_what_they_show(running: Any) -> None:
    """Trained items count once they stood in a list, new ones as well; lists that are kept are counted."""
    metrics = running.services.metrics
    await running.client.post("/items", json={"item_id": "a", "modalities": {"text": TEXT}})
    await running.client.post("/items", json={"item_id": "b", "modalities": {"text": TEXT}})
    assert (value(metrics, "i3rec_list_coverage"), value(metrics, "i3rec_new_items_shown")) == (0, 0)

    for _ in range(2):
        answer = await running.client.get("/recommend/u1", params={"k": 5})

    shown = {item["item_id"] for item in answer.json()["items"]}
    assert value(metrics, "i3rec_list_coverage") == pytest.approx(len(shown - {"a", "b"}) / 12)
    assert value(metrics, "i3rec_new_items_shown") == len(shown & {"a", "b"})
    assert value(metrics, "i3rec_search_remembered_lists") == 1
    assert value(metrics, "i3rec_search_waiting_requests") == 0


async def test_without_a_model_nothing_is_covered(run_app: Any, tmp_path: Path) -> None:
    """There are no rows, and no share of them."""
    ModelStore(tmp_path / "empty")
    bare = Settings(model_store=tmp_path / "empty", journal_url=f"sqlite:///{tmp_path}/journal.sqlite3")
    async with run_app(bare) as running:
        metrics = running.services.metrics

        assert np.isnan(value(metrics, "i3rec_list_coverage"))
        assert value(metrics, "i3rec_index_rows", segment="main", state="listed") == 0


async def test_engines_are_told(run_app: Any, settings: Settings) -> None:
    """What was asked for beside what is used, from the start; recalls once there are any."""
    wanted = settings.model_copy(update={"index_engine": "gpu-fp16", "onnx_provider": "cuda"})
    async with run_app(wanted) as running:
        metrics = running.services.metrics

        assert value(metrics, "i3rec_index_engine", asked="gpu-fp16", used="exact") == 1
        assert value(metrics, "i3rec_encoder_provider", asked="cuda", used="cpu") == 1
        assert (await running.client.get("/recommend/u1")).status_code == 200


def test_live_recall_is_that_of_the_latest_thousand() -> None:
    """Older searches do not count any more; without any there is no number."""
    metrics = Metrics()
    assert math.isnan(value(metrics, "i3rec_index_live_recall") or 0)

    for recall in [0.0] * 500 + [1.0] * 750:
        metrics.engines.compared(recall)

    assert value(metrics, "i3rec_index_live_recall") == pytest.approx(0.75)
    assert value(metrics, "i3rec_index_compared_recall_count") == 1250
    metrics.engines.uses("ivf", "exact", 1.0)
    metrics.engines.uses("ivf", "ivf", 0.992)
    assert value(metrics, "i3rec_index_engine", asked="ivf", used="exact") is None
    assert value(metrics, "i3rec_index_recall") == 0.992


async def test_making_a_list_is_timed_by_its_strategy(running: Any) -> None:
    """Every list that is made counts once for its strategy; one that is at hand is not made again."""
    metrics = running.services.metrics

    await running.client.get("/recommend/u1", params={"k": 5})
    await running.client.get("/recommend/stranger", params={"k": 5})
    await running.client.post("/recommend", json={"history": ["i01"], "k": 5})
    await running.client.post("/recommend/batch", json={"users": ["u2", "u3", "nobody"], "k": 5})

    made = {
        strategy: value(metrics, "i3rec_list_seconds_count", strategy=strategy)
        for strategy in ("personal", "session", "popular")
    }
    assert made == {"personal": 3, "session": 1, "popular": 2}
    await running.client.get("/recommend/u1", params={"k": 5})
    assert value(metrics, "i3rec_list_seconds_count", strategy="personal") <= 4
    assert value(metrics, "i3rec_recommendations_total", strategy="personal") == 4
