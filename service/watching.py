"""Gauges of how the service fares; they look when they are scraped, on the event loop."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

from service.catalog import WriteLimits
from service.following import JournalFollower
from service.handle import ServableHandle
from service.list_instruments import SearchMetrics
from service.metrics import Metrics
from service.ports import FeatureCache
from service.queries import IndexState
from service.searching import Searches
from service.sync import ModelFollower


def watch(
    metrics: Metrics,
    handle: ServableHandle,
    cache: FeatureCache,
    models: ModelFollower,
    others: JournalFollower,
    limits: WriteLimits,
) -> None:
    """Ties the gauges to what they tell of."""
    metrics.index_size.set_function(lambda: len(handle.peek.index) if handle.peek else 0)
    metrics.online_items.set_function(lambda: handle.peek.online_items if handle.peek else 0)
    metrics.index_seq.set_function(lambda: handle.peek.index_seq if handle.peek else 0)
    metrics.behind_s.set_function(lambda: others.behind_s)
    metrics.cache.healthy.set_function(lambda: cache.healthy)
    metrics.encoding.waiting.set_function(lambda: limits.encode.statistics().tasks_waiting)
    metrics.new_items.set_function(lambda: len(handle.peek.newcomers) if handle.peek else 0)
    metrics.shown.new_items.set_function(lambda: handle.peek.newcomers.shown if handle.peek else 0)
    metrics.shown.coverage.set_function(lambda: _coverage(handle))
    metrics.models.age_s.set_function(lambda: _age_s(handle))
    metrics.models.load_failed.set_function(lambda: models.failure is not None)
    metrics.models.trial_share.set_function(lambda: handle.contender.share if handle.contender else 0.0)
    metrics.degraded.labels("cache").set_function(lambda: not cache.healthy)
    metrics.degraded.labels("history").set_function(lambda: others.failing)
    metrics.degraded.labels("index").set_function(lambda: handle.peek is not None and not handle.peek.index.healthy)
    metrics.degraded.labels("journal").set_function(lambda: metrics.journal.failing)
    metrics.degraded.labels("model").set_function(lambda: handle.peek is None or models.failure is not None)


def watch_searches(metrics: SearchMetrics, handle: ServableHandle, searches: Searches) -> None:
    """Ties the gauges of the index and of what is searched in it to what they tell of."""

    def rows(number: Callable[[IndexState], int]) -> Callable[[], float]:
        return lambda: number(handle.peek.index.state) if handle.peek else 0

    metrics.rows.labels("main", "listed").set_function(rows(lambda state: state.main - state.main_gone))
    metrics.rows.labels("main", "gone").set_function(rows(lambda state: state.main_gone))
    metrics.rows.labels("delta", "listed").set_function(rows(lambda state: state.delta - state.delta_gone))
    metrics.rows.labels("delta", "gone").set_function(rows(lambda state: state.delta_gone))
    metrics.remembered.set_function(rows(lambda state: state.remembered))
    metrics.waiting.set_function(lambda: searches.waiting)


def _coverage(handle: ServableHandle) -> float:
    """The share of the trained items that are shown; NaN without a model."""
    servable, now = handle.peek, datetime.now(UTC)
    return servable.coverage.share(lambda item_id: servable.visible(item_id, now)) if servable else math.nan


def _age_s(handle: ServableHandle) -> float:
    """Seconds since the version that serves was made; NaN without one."""
    return (datetime.now(UTC) - handle.peek.bundle.manifest.created).total_seconds() if handle.peek else math.nan
