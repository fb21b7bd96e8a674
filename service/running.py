"""Everything that runs beside the requests, put together of given backends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import anyio
from anyio import CapacityLimiter

from model_store import ModelStore
from service.api.state import Services
from service.building import Builder, Engines
from service.bulk import Bulk
from service.catalog import Catalog, WriteLimits
from service.checkpoints import Checkpoints, CheckpointWriter
from service.exploration import Exploration
from service.fast_path import FastPath
from service.feedback import Feedback
from service.following import JournalFollower, keep_compact
from service.handle import ServableHandle
from service.histories import Histories
from service.impressions import Impressions
from service.inventory import Inventory
from service.labels import Labels, ListWriter
from service.loading import Loading
from service.making import Making, Reading
from service.metrics import Metrics
from service.models import Models
from service.peers import Peers
from service.ports import CheckpointStore, FeatureCache, Journal, Wakeups
from service.recommend import Recommender
from service.replay import Replay
from service.searching import Searches
from service.settings import Settings
from service.shadow import Shadow
from service.steady import Steady
from service.sync import ModelFollower
from service.trials import TrialFollower
from service.warming import Labelling, Warming
from service.watching import watch, watch_searches

_PATIENCE = 0.4  # of the deadline: for a lock of the model store, and then for a version that is built


@dataclass(frozen=True, slots=True)
class Backends:
    """What an app stands on. The app that is given them closes them."""

    journal: Journal
    cache: FeatureCache
    engines: Engines
    wakeups: Wakeups | None = None
    checkpoints: CheckpointStore | None = None
    list_writer: ListWriter = field(default_factory=ListWriter)


@asynccontextmanager
async def serving(
    settings: Settings, used: Backends, handle: ServableHandle, metrics: Metrics
) -> AsyncIterator[Services]:
    """Everything that runs beside the requests, while they are answered."""
    journal, replay = used.journal, Replay(used.cache, metrics)
    store = ModelStore(settings.model_store)
    checkpoints = Checkpoints(used.checkpoints, journal, store) if used.checkpoints else None
    writer = CheckpointWriter(checkpoints, handle) if checkpoints else None
    builder = Builder(store, journal, replay, used.engines, checkpoints)
    loading = Loading(builder, handle, settings.keep_models, writer.wake if writer else lambda: None)
    models = _Models(ModelFollower(loading, handle, used.cache, metrics), TrialFollower(loading, handle, metrics))
    histories = Histories(journal, settings.max_history)
    others = JournalFollower(handle, journal, replay, metrics, histories)
    searches = _searches(settings, metrics)
    watch_searches(metrics.search, handle, searches)
    making = Making(histories, journal, used.cache, metrics, _reading(settings), Labels(used.list_writer))
    lists = _lists(handle, making, searches)
    services = _wire(settings, handle, used, models, others, making, lists)
    async with anyio.create_task_group() as tasks:
        beside = Steady(tasks)
        await models.serving.refresh()
        models.start(beside, settings.model_poll_s)
        _look_ahead(beside, settings, handle, lists, making.labels)
        _keep_up(beside, settings, used, others, writer, metrics)
        try:
            yield services
        finally:
            searches.close()
        tasks.cancel_scope.cancel()
    if writer:
        await writer.finish(others.catch_up)


class _Models(NamedTuple):
    """What follows the model store."""

    serving: ModelFollower
    trials: TrialFollower

    def start(self, beside: Steady, poll_s: float) -> None:
        """Makes both follow."""
        beside.start_soon(self.serving.run, poll_s)
        beside.start_soon(self.trials.run, poll_s)


def _operators(settings: Settings, models: _Models) -> Models:
    patience_s = _PATIENCE * settings.deadline_s
    return Models(
        ModelStore(settings.model_store, lock_wait_s=patience_s),
        partial(models.serving.settle, patience_s),
        lambda: models.serving.failure,
        lambda: models.trials.failure,
    )


class _Lists(NamedTuple):
    """What answers with lists, and what compares these aside."""

    fast_path: FastPath
    recommender: Recommender
    shadow: Shadow


def _lists(handle: ServableHandle, making: Making, searches: Searches) -> _Lists:
    shadow = Shadow(handle, making.for_user, making.metrics)
    impressions = Impressions(handle, making.metrics, shadow)
    fast_path = FastPath(handle, making, impressions, searches)
    return _Lists(fast_path, Recommender(handle, making, impressions, fast_path), shadow)


def _searches(settings: Settings, metrics: Metrics) -> Searches:
    return Searches(
        metrics.search,
        threads=settings.search_threads,
        most_waiting=settings.max_waiting,
        deadline_s=settings.deadline_s,
        at_once_s=settings.search_at_once_ms / 1000,
    )


def _reading(settings: Settings) -> Reading:
    return Reading(
        CapacityLimiter(settings.search_threads),
        Exploration(settings.explore_every, settings.explore_share, settings.explore_impressions),
        max_waiting=settings.max_waiting,
        max_shown=settings.max_cursor,
    )


def _look_ahead(beside: Steady, settings: Settings, handle: ServableHandle, lists: _Lists, labels: Labels) -> None:
    """Starts what makes lists that nobody has asked for, those of the version on trial and those expected next."""
    beside.start_soon(lists.shadow.run)
    beside.start_soon(Labelling(handle, labels).run, settings.model_poll_s)
    if settings.warm_lists and settings.remembered_lists:
        warming = Warming(handle, lists.fast_path, settings.default_k, settings.remembered_lists)
        beside.start_soon(warming.run, settings.model_poll_s)


def _keep_up(
    beside: Steady,
    settings: Settings,
    used: Backends,
    others: JournalFollower,
    writer: CheckpointWriter | None,
    metrics: Metrics,
) -> None:
    """Starts what looks after the journal: following it, telling others of it, keeping it small and starts short."""
    journal = used.journal
    beside.start_soon(others.run, settings.follow_poll_s)
    if writer:
        beside.start_soon(writer.run, settings.checkpoint_every_s)
    if settings.compact_every_s:
        beside.start_soon(keep_compact, journal, settings.compact_every_s, metrics)
    if used.wakeups:
        beside.start_soon(used.wakeups.tell, journal.identity)
        beside.start_soon(used.wakeups.listen, journal.identity, others.wake)


def _wire(
    settings: Settings,
    handle: ServableHandle,
    backends: Backends,
    models: _Models,
    others: JournalFollower,
    making: Making,
    lists: _Lists,
) -> Services:
    journal, cache, metrics = backends.journal, backends.cache, making.metrics
    limits = WriteLimits(
        CapacityLimiter(settings.encode_threads),
        CapacityLimiter(settings.write_threads),
        settings.max_waiting,
        settings.write_at_once_ms / 1000,
    )
    peers = Peers(others.catch_up, others.spread)
    watch(metrics, handle, cache, models.serving, others, limits)
    return Services(
        settings,
        handle,
        Catalog(handle, journal, cache, metrics, limits, peers),
        Bulk(handle, journal, cache, metrics, limits, peers),
        lists.fast_path,
        lists.recommender,
        Feedback(journal, metrics, handle.arm_of, making.histories.note),
        _operators(settings, models),
        Inventory(handle, journal, making.reading.searches, settings.max_waiting, peers),
        others,
        cache,
        metrics,
    )
