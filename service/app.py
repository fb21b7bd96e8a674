"""The composition root: the only place that names concrete adapters."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from model_store import Bundle
from service.adapters.background import Workers
from service.adapters.checkpoint_files import CheckpointFiles
from service.adapters.engine_choice import Asked, EngineChoice
from service.adapters.integer_engine import IntegerEngine
from service.adapters.list_writer import list_writer
from service.adapters.memory import MemoryCache
from service.adapters.onnx_encoder import OnnxEncoder
from service.adapters.onnx_featurizer import OnnxFeaturizer
from service.adapters.redis_cache import RedisCache
from service.adapters.redis_wakeups import RedisWakeups
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.sql_dialects import file_of
from service.adapters.sql_journal import FlushObserver, SqlJournal
from service.api import (
    allowance,
    batch,
    bodies,
    deadline,
    docs,
    guard,
    head,
    health,
    idempotency,
    inventory,
    items,
    models,
    problems,
    quick,
    recommend,
    users,
)
from service.api.openapi import DESCRIPTION, complete
from service.api.state import State
from service.building import Engines
from service.errors import RecommenderError
from service.handle import ServableHandle
from service.instruments import CacheMetrics
from service.metrics import Metrics
from service.ports import CheckpointStore, Encoder, FeatureCache, Featurizer, Journal
from service.request_context import RequestContext
from service.running import Backends, serving
from service.settings import Settings

if TYPE_CHECKING:
    from service.tracing import Tracing

_VERSION = "0.1.0"


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
    cache = _cache(settings, journal.identity, metrics.cache)
    return Backends(journal, cache, engines(settings, metrics), wakeups, _open_checkpoints(settings), list_writer())


def _open_checkpoints(settings: Settings) -> CheckpointStore | None:
    """Beside the journal's file, if it has one and the settings name no other place."""
    file, directory = file_of(settings.journal_url), settings.checkpoints
    if directory is None and file:
        directory = file.with_name(f"{file.name}.checkpoints")
    if directory is None or not settings.checkpoint_every_s:
        return None
    with suppress(OSError):  # it is tried again, and told, when something is to be written there
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # which the files in it are not closed by themselves
    return CheckpointFiles(directory)


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


def engines(settings: Settings, metrics: Metrics) -> Engines:
    """ONNX Runtime and the index, with the threads the settings give them."""
    observer, workers = metrics.engines, Workers()
    asked = Asked(settings.index_engine, settings.index_recall, settings.index_check_every, settings.faiss_threads)
    make_engine = EngineChoice(asked, partial(IntegerEngine, threads=settings.faiss_threads), observer, workers)

    def open_encoder(bundle: Bundle) -> Encoder:
        manifest = bundle.manifest
        return OnnxEncoder(
            bundle.encoder_path,
            {name: manifest.modalities[name] for name in manifest.modality_names},
            d=manifest.d,
            model_version=bundle.version,
            threads=settings.onnx_threads,
            provider=settings.onnx_provider,
            told=partial(observer.encodes, settings.onnx_provider),
        )

    def open_featurizer(bundle: Bundle) -> Featurizer:
        paths = {name: bundle.featurizer_path(name) for name in bundle.manifest.featurizers}
        return OnnxFeaturizer(paths, bundle.manifest.modalities, threads=settings.onnx_threads)

    return Engines(
        open_encoder,
        lambda item_ids, vectors: SegmentedIndex(
            item_ids,
            vectors,
            make_engine=make_engine,
            remembered=settings.remembered_lists,
            on_fold=metrics.search.folded,
            workers=workers,
        ),
        open_featurizer,
        workers.close,
    )


def create_app(settings: Settings, backends: Backends | None = None) -> FastAPI:
    """An app of its own: settings in, nothing read from the environment, nothing shared with another app.

    Args:
        settings: of the service.
        backends: instead of those the settings name; opened in the lifespan where not given.
    """
    handle = ServableHandle()

    def serving_version() -> str | None:
        return handle.peek.version if handle.peek else None

    tracing = _tracing(settings)
    metrics = Metrics(tracing.stage if tracing else None)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        used = backends or open_backends(settings, metrics)
        try:
            async with serving(settings, used, handle, metrics) as services:
                yield {"services": services}
        finally:
            handle.release()
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(used.engines.close)
                await to_thread.run_sync(used.journal.close)
                await used.cache.close()
                if used.wakeups:
                    await used.wakeups.close()
                if tracing:
                    await to_thread.run_sync(tracing.close)

    app = FastAPI(
        title="I³Rec",
        description=DESCRIPTION,
        version=_VERSION,
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's own would put paths and queries, which hold ids, into spans, and asks three times a request whether
        # there are any.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(problems.ErrorBoundary),
            Middleware(head.HeadAsGet),
            Middleware(guard.SoundPaths),
            Middleware(deadline.Deadline, seconds=settings.deadline_s),
            Middleware(bodies.BodySilence, seconds=settings.body_timeout_s, streams=batch.is_stream),
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
    docs.mount_docs(app)
    complete(app)
    before = [
        *(tracing.middleware(serving_version) if tracing else ()),
        Middleware(RequestContext, metrics=metrics, serving=serving_version),
        *_guards(settings),
        Middleware(quick.QuickLists, route=recommend.router.routes[0]),
    ]
    app.middleware_stack = _before(app.build_middleware_stack(), before)
    return app


def _before(app: ASGIApp, layers: Sequence[Middleware]) -> ASGIApp:
    """An app with layers before all others, also before those that FastAPI and Starlette begin with."""
    for layer in reversed(layers):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.trace_endpoint is None:
        return None
    from service.tracing import Tracing  # noqa: PLC0415  an extra: what is not asked for is not imported

    return Tracing.to(settings.trace_endpoint, settings.trace_share, _VERSION, settings.port)


def _guards(settings: Settings) -> list[Middleware]:
    """What asks for keys and counts requests, where that is wanted: every layer costs every request."""
    guards, rate, burst = [], settings.rate_per_s, settings.rate_burst
    if settings.has_keys:
        guesses = allowance.Guesses(allowance.Allowances(rate, burst)) if rate else None
        guards.append(Middleware(guard.KeyGuard, keys=_keys(settings), guesses=guesses))
    if rate:
        allowances = allowance.Allowances(rate, burst)
        guards.append(Middleware(guard.RateLimit, allowances=allowances, keyed=settings.has_keys))
    return guards


def _keys(settings: Settings) -> dict[str, guard.Access]:
    """Every key and what it may do; one that stands in several lists may do the most of them."""
    lists = (
        (settings.read_keys, guard.Access.READ),
        (settings.write_keys, guard.Access.WRITE),
        (settings.admin_keys, guard.Access.ADMIN),
    )
    return {key.get_secret_value(): access for keys, access in lists for key in keys}
