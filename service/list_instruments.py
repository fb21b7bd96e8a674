"""The metrics of lists: of searches and their engines, of what is shown, and of what would be shown instead."""

import math
from collections import deque
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain import Strategy
from service.instruments import TENTHS, counter, tallies
from service.tallies import Spreads

_FOLD_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LIST_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_LATEST = 1000


class SearchMetrics:
    """Of searches in the index."""

    def __init__(self, registry: CollectorRegistry) -> None:
        about = "Searches that shared one pass over the index."
        self.batch = Spreads("i3rec_search_batch_queries", about, (), registry, (1, 2, 4, 8, 16, 32)).labels()
        about = "Searches, by whether what was found before could be given again."
        recalls = tallies("i3rec_search_recalls", about, "known", ("yes", "no"), registry)
        self._recalls = recalls.labels("no"), recalls.labels("yes")

        about = "Attempts to fold the segments into one."
        self.folds = counter("i3rec_index_folds", about, "result", ("done", "failed"), registry)
        self.fold_seconds = Histogram(
            "i3rec_index_fold_seconds",
            "Time to fold the segments into one; searches and writes go on meanwhile.",
            registry=registry,
            buckets=_FOLD_SECONDS,
        )
        about = "Rows of the segments; those that are gone are searched in vain until the next folding."
        self.rows = Gauge("i3rec_index_rows", about, ("segment", "state"), registry=registry)
        about = "Lists that are kept for users who ask again."
        self.remembered = Gauge("i3rec_search_remembered_lists", about, registry=registry)
        self.waiting = Gauge("i3rec_search_waiting_requests", "Requests that wait for a search.", registry=registry)

    def folded(self, seconds: float | None) -> None:
        """Notes how long a folding took, or that it failed."""
        self.folds.labels("failed" if seconds is None else "done").inc()
        if seconds is not None:
            self.fold_seconds.observe(seconds)

    def recalled(self, *, known: bool) -> None:
        """Counts a search that was remembered, or was not."""
        self._recalls[known].inc()


class ShownMetrics:
    """Of what lists show of the catalogue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        about = "Share of the trained items that stood in a list within the last hour; NaN without a model."
        self.coverage = Gauge("i3rec_list_coverage", about, registry=registry)
        about = "New items that stood in a list at least once since the process started."
        self.new_items = Gauge("i3rec_new_items_shown", about, registry=registry)
        about = "Places in served lists, by whether the model was trained on the item."
        impressions = tallies("i3rec_impressions", about, "item", ("new", "trained"), registry)
        self._new, self._trained = impressions.labels("new"), impressions.labels("trained")
        about = "Time to make a list that was not at hand, by strategy; waiting for a thread left out."
        self.seconds = Spreads("i3rec_list_seconds", about, ("strategy",), registry, _LIST_SECONDS)
        for strategy in get_args(Strategy):
            self.seconds.labels(strategy)

    def count(self, new: int, trained: int) -> None:
        """Counts places in a list."""
        if new:
            self._new.inc(new)
        self._trained.inc(trained)

    def made(self, strategy: Strategy, seconds: float) -> None:
        """Notes how long a list took."""
        self.seconds.labels(strategy).observe(seconds)


class ShadowMetrics:
    """Of lists that are made again by the version on trial."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.overlap = Histogram(
            "i3rec_shadow_overlap",
            "Share of a list that the version in shadow also gives.",
            registry=registry,
            buckets=TENTHS,
        )
        self.failures = Counter("i3rec_shadow_failures", "Lists the shadow failed to give.", registry=registry)
        self.skipped = Counter("i3rec_shadow_skipped", "Lists not compared for want of time.", registry=registry)


class EngineMetrics:
    """Of the engines that search and encode: which were asked for, which are used, what approximate ones miss."""

    def __init__(self, registry: CollectorRegistry) -> None:
        about = "1 for the engine that searches the newest main segment, beside the one that was asked for."
        self._index = Gauge("i3rec_index_engine", about, ("asked", "used"), registry=registry)
        about = "Recall an approximate engine showed before it was used; 1 for exact ones."
        self._recall = Gauge("i3rec_index_recall", about, registry=registry)
        about = "Recall of the latest 1,000 searches that were compared with exact ones; NaN without any."
        self._live_recall = Gauge("i3rec_index_live_recall", about, registry=registry)
        self._compared = Histogram(
            "i3rec_index_compared_recall",
            "Recall of each search of an approximate engine that was compared with an exact one.",
            registry=registry,
            buckets=_RECALLS,
        )
        about = "1 for what runs the encoder, beside what was asked for."
        self._encoder = Gauge("i3rec_encoder_provider", about, ("asked", "used"), registry=registry)
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._live_recall.set_function(lambda: sum(self._latest) / len(self._latest) if self._latest else math.nan)

    def uses(self, asked: str, used: str, recall: float) -> None:
        """Notes the engine that was asked for, the one that is used, and the recall that it has shown."""
        self._index.clear()
        self._index.labels(asked, used).set(1)
        self._recall.set(recall)

    def compared(self, recall: float) -> None:
        """Notes the recall of one search."""
        self._compared.observe(recall)
        self._latest.append(recall)

    def encodes(self, asked: str, used: str) -> None:
        """Notes what runs the encoder from now on."""
        self._encoder.clear()
        self._encoder.labels(asked, used).set(1)
