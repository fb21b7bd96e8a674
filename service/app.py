"""The composition root: the only place that names concrete adapters."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from model_store import Bundle, ModelStore
from service.adapters.faiss_index import FaissIndex
from service.adapters.memory import MemoryCache
from service.adapters.onnx_encoder import OnnxEncoder
from service.adapters.onnx_featurizer import OnnxFeaturizer
from service.adapters.redis_cache import RedisCache
from service.adapters.redis_wakeups import RedisWakeups
from service.adapters.sql_journal import FlushObserver, SqlJournal
from service.api import batch, bodies, guard, health, idempotency, inventory, items, models, problems, recommend, users
from service.api.openapi import DESCRIPTION, complete
from service.api.state import Services, State
from service.building import Builder, Engines
from service.bulk import Bulk
from service.catalog import Catalog, WriteLimits
from service.errors import RecommenderError
from service.exploration import Exploration
from service.feedback import Feedback
from service.following import JournalFollower, keep_compact
from service.handle import ServableHandle
from service.instruments import CacheMetrics
from service.inventory import Inventory
from service.models import Models
from service.observability import Metrics, RequestContext
from service.peers import Peers
from service.ports import Encoder, FeatureCache, Featurizer, Journal, Wakeups
from service.recommend import Reading, Recommender
from service.replay import Replay
from service.settings import Settings
from service.sync import ModelFollower
from service.watching import watch


@dataclass(frozen=True, slots=True)
class Backends:
    """What an app stands on. The app that is given them closes them."""

    journal: Journal
    cache: FeatureCache
    engines: Engines
    wakeups: Wakeups | None = None


def open_journal(
    settings: Settings,
    on_batch: Callable[[int], object] = lambda _: None,
    observer: FlushObserver | None = None,
) -> Journal:
    """The journal the settings name.

    Raises:
        StorageUnavailable: it cannot be opened.
    """
    timeout_s = settings.journal_timeout_s
    return SqlJournal(settings.journal_url, timeout_s=timeout_s, on_batch=on_batch, observer=observer)


def open_backends(settings: Settings, metrics: Metrics) -> Backends:
    """The backends the settings name.

    Raises:
        StorageUnavailable: the journal cannot be opened.
    """
    redis_url = settings.redis_url
    wakeups = RedisWakeups(redis_url, timeout_s=settings.cache_timeout_s) if redis_url else None

    def on_batch(_: int) -> None:
        if wakeups:
            wakeups.wrote()

    journal = open_journal(settings, on_batch, metrics.journal)
    return Backends(journal, _cache(settings, journal.identity, metrics.cache), engines(settings), wakeups)


def _cache(settings: Settings, namespace: str, metrics: CacheMetrics) -> FeatureCache:
    if settings.redis_url is None:
        return MemoryCache(settings.cache_max_items)
    return RedisCache(
        settings.redis_url,
        ttl_s=settings.cache_ttl_s,
        timeout_s=settings.cache_timeout_s,
        namespace=namespace,
        on_call=metrics.breaker_open.set,
    )


def engines(settings: Settings) -> Engines:
    """ONNX Runtime and FAISS, with the threads the settings give them."""

    def open_encoder(bundle: Bundle) -> Encoder:
        manifest = bundle.manifest
        return OnnxEncoder(
            bundle.encoder_path,
            {name: manifest.modalities[name] for name in manifest.modality_names},
            d=manifest.d,
            model_version=bundle.version,
            threads=settings.onnx_threads,
        )

    def open_featurizer(bundle: Bundle) -> Featurizer:
        paths = {name: bundle.featurizer_path(name) for name in bundle.manifest.featurizers}
        return OnnxFeaturizer(paths, bundle.manifest.modalities, threads=settings.onnx_threads)

    return Engines(
        open_encoder,
        lambda item_ids, vectors: FaissIndex(item_ids, vectors, threads=settings.faiss_threads),
        open_featurizer,
    )


def create_app(settings: Settings, backends: Backends | None = None) -> FastAPI:
    """An app of its own: settings in, nothing read from the environment, nothing shared with another app.

    Args:
        settings: of the service.
        backends: instead of those the settings name; opened in the lifespan where not given.
    """
    metrics = Metrics()
    handle = ServableHandle()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        used = backends or open_backends(settings, metrics)
        try:
            async with _serving(settings, used, handle, metrics) as services:
                yield {"services": services}
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(used.journal.close)
                await used.cache.close()
                if used.wakeups:
                    await used.wakeups.close()

    app = FastAPIOffline(  # /docs works without a CDN, as services in closed networks must
        title="I³Rec",
        description=DESCRIPTION,
        version="0.1.0",
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        middleware=[
            Middleware(RequestContext, metrics=metrics, serving=lambda: handle.peek.version if handle.peek else None),
            Middleware(guard.KeyGuard, keys=_keys(settings)),
            Middleware(guard.RateLimit, per_second=settings.rate_per_s, burst=settings.rate_burst),
            Middleware(problems.ErrorBoundary),
            Middleware(guard.SoundPaths),
            Middleware(guard.Deadline, seconds=settings.deadline_s),
            Middleware(bodies.BodyLimit, max_bytes=settings.max_body_bytes, streams=batch.is_stream),
            Middleware(idempotency.Idempotency),
        ],
        exception_handlers={
            RecommenderError: problems.refuse_recommender_error,
            HTTPException: problems.refuse_http_exception,
            RequestValidationError: problems.refuse_invalid_request,
        },
    )
    # What ends in a fixed word comes before the items' own greedy paths.
    modules = (recommend, batch, inventory, items, users, models, health)
    for module in modules:
        app.include_router(module.router)
    app.state.routes = [route for module in modules for route in module.router.routes]
    complete(app)
    return app


@asynccontextmanager
async def _serving(
    settings: Settings, used: Backends, handle: ServableHandle, metrics: Metrics
) -> AsyncIterator[Services]:
    """Everything that runs beside the requests, while they are answered."""
    journal, replay = used.journal, Replay(used.cache, metrics)
    builder = Builder(ModelStore(settings.model_store), journal, replay, used.engines)
    models_follower = ModelFollower(builder, handle, used.cache, metrics, settings.keep_models)
    others = JournalFollower(handle, journal, replay, metrics)
    services = _wire(settings, handle, used, metrics, models_follower, others)
    async with anyio.create_task_group() as tasks:
        await models_follower.refresh()
        tasks.start_soon(models_follower.run, settings.model_poll_s)
        tasks.start_soon(others.run, settings.follow_poll_s)
        if settings.compact_every_s:
            tasks.start_soon(keep_compact, journal, settings.compact_every_s, metrics)
        if used.wakeups:
            tasks.start_soon(used.wakeups.tell, journal.identity)
            tasks.start_soon(used.wakeups.listen, journal.identity, others.wake)
        tasks.start_soon(services.recommender.shadow.run)
        yield services
        tasks.cancel_scope.cancel()


def _keys(settings: Settings) -> dict[str, guard.Access]:
    """Every key and what it may do; one that stands in several lists may do the most of them."""
    lists = (
        (settings.read_keys, guard.Access.READ),
        (settings.write_keys, guard.Access.WRITE),
        (settings.admin_keys, guard.Access.ADMIN),
    )
    return {key.get_secret_value(): access for keys, access in lists for key in keys}


def _wire(
    settings: Settings,
    handle: ServableHandle,
    backends: Backends,
    metrics: Metrics,
    follower: ModelFollower,
    others: JournalFollower,
) -> Services:
    journal, cache = backends.journal, backends.cache
    limits = WriteLimits(
        CapacityLimiter(settings.encode_threads), CapacityLimiter(settings.write_threads), settings.max_waiting
    )
    reading = Reading(
        CapacityLimiter(settings.search_threads),
        Exploration(settings.explore_every, settings.explore_share, settings.explore_impressions),
        max_waiting=settings.max_waiting,
        max_shown=settings.max_cursor,
        max_history=settings.max_history,
    )
    peers = Peers(others.catch_up, others.spread)
    _watch(metrics, handle, others)
    watch(metrics, handle, cache, follower, others, limits)
    return Services(
        settings,
        handle,
        Catalog(handle, journal, cache, metrics, limits, peers),
        Bulk(handle, journal, cache, metrics, limits, peers),
        Recommender(handle, journal, cache, metrics, reading),
        Feedback(journal, metrics, handle.arm_of),
        Models(ModelStore(settings.model_store), follower.refresh, lambda: follower.failure),
        Inventory(handle, journal, reading.searches, settings.max_waiting, peers),
        others,
        cache,
        metrics,
    )


def _watch(metrics: Metrics, handle: ServableHandle, others: JournalFollower) -> None:
    """Gauges that read their value when they are scraped."""
    metrics.index_size.set_function(lambda: len(handle.peek.index) if handle.peek else 0)
    metrics.online_items.set_function(lambda: handle.peek.online_items if handle.peek else 0)
    metrics.index_seq.set_function(lambda: handle.peek.index_seq if handle.peek else 0)
    metrics.behind_s.set_function(lambda: others.behind_s)
