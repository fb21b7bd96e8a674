"""All metrics of an app, on a registry of its own, and the time of each stage of a request."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector

from service.domain import Strategy
from service.instruments import (
    REASONS,
    CacheMetrics,
    EncodeMetrics,
    JournalMetrics,
    ModelMetrics,
    counter,
    tallies,
)
from service.list_instruments import EngineMetrics, SearchMetrics, ShadowMetrics, ShownMetrics
from service.tallies import Spread, Spreads, Tallies, Tally

stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)
"""Seconds in each stage of the request that is being answered; None outside of one."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_NAMED_PATTERNS = 6
_ARMS = ("current", "challenger")


class Metrics:
    """All metrics of one app. Labels are bounded: route templates, known methods, modalities of the model.

    Args:
        make_stage: times a stage and does more with it; None = it is timed and nothing else.
    """

    def __init__(self, make_stage: "MakeStage | None" = None) -> None:
        self._make_stage = make_stage or Stage
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        labels = ("method", "route", "status")
        self.requests = Tallies("i3rec_http_requests", "Requests answered.", labels, registry)
        self.request_seconds = Spreads(
            "i3rec_http_request_seconds", "Time to answer.", labels, registry, buckets=_SECONDS
        )
        self._answered: dict[tuple[str, str, int], tuple[Tally, Spread]] = {}
        self.items_posted = Counter(
            "i3rec_items_posted", "Items written, by the modalities they had.", ("present",), registry=registry
        )
        self.recommendations = tallies(
            "i3rec_recommendations", "Lists served, by strategy.", "strategy", get_args(Strategy), registry
        )
        self.interactions = Counter("i3rec_interactions", "Interactions written.", registry=registry)
        self.arm_lists = tallies("i3rec_arm_lists", "Lists served to users, by arm.", "arm", _ARMS, registry)
        self.arm_interactions = counter(
            "i3rec_arm_interactions", "Interactions of users, by the arm they are in.", "arm", _ARMS, registry
        )
        self.stage_seconds = Spreads(
            "i3rec_stage_seconds", "Time in one stage.", ("stage",), registry, buckets=_STAGE_SECONDS
        )
        self.journal = JournalMetrics(registry)
        self.encoding = EncodeMetrics(registry)
        self.search = SearchMetrics(registry)
        self.shown = ShownMetrics(registry)
        self.shadow = ShadowMetrics(registry)
        self.engines = EngineMetrics(registry)
        self.cache = CacheMetrics(registry)
        self.models = ModelMetrics(registry)
        self.degraded = Gauge("i3rec_degraded", "1 while the service does with less.", ("reason",), registry=registry)
        self.index_size = Gauge("i3rec_index_items", "Items that can be found.", registry=registry)
        self.online_items = Gauge("i3rec_online_items", "Items written online.", registry=registry)
        self.new_items = Gauge("i3rec_new_items", "Items the model was not trained on.", registry=registry)
        self.index_seq = Gauge("i3rec_index_seq", "Highest journal record that is searchable.", registry=registry)
        self.followed = Counter("i3rec_followed", "Times that others' records were applied here.", registry=registry)
        self.behind_s = Gauge(
            "i3rec_behind_seconds", "For how long what other processes wrote may be missing here.", registry=registry
        )
        for reason in REASONS:
            self.degraded.labels(reason)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request and notes how long its answer took."""
        labels = (method, route, status)
        both = self._answered.get(labels)
        if both is None:
            both = self._answered[labels] = self.requests.labels(*labels), self.request_seconds.labels(*labels)
        both[0].inc()
        both[1].observe(seconds)

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Times one stage, for the metrics and for this request's own answer: ``with metrics.stage("encode"): ...``."""
        return self._make_stage(self, name)

    def spent(self, name: str, seconds: float) -> None:
        """Notes the time of one stage, for the metrics and for this request's own answer."""
        self.stage_seconds.labels(name).observe(seconds)
        spent = stages.get()
        if spent is not None:
            spent[name] = spent.get(name, 0.0) + seconds

    def count_item(self, present: Sequence[str], missing: Sequence[str], items: int = 1) -> None:
        """Counts written items under their pattern; a model of many modalities is counted by their number alone."""
        total = len(present) + len(missing)
        pattern = "+".join(present) or "none"
        if total > _NAMED_PATTERNS:
            pattern = f"{len(present)} of {total}"
        self.items_posted.labels(pattern).inc(items)

    def count_list(self, strategy: str) -> None:
        """Counts a list."""
        self.recommendations.labels(strategy).inc()

    def count_arm(self, arm: str) -> None:
        """Counts a list for a user in an arm of a split test."""
        self.arm_lists.labels(arm).inc()


class Stage:
    """Times a block, for the metrics and for the request's own answer."""

    __slots__ = ("_metrics", "_name", "_started")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._metrics.spent(self._name, time.perf_counter() - self._started)


MakeStage = Callable[[Metrics, str], AbstractContextManager[None]]
