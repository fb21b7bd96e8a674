"""The metrics of each part of the service that writes: journal, encoder, cache, models.

Every value a label can have is there from the start: what never happened reads 0, so that rates and alerts see the
first time it does.
"""

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain import Encoding

REASONS = ("cache", "history", "index", "journal", "model")
"""Why the service may be degraded."""
_FLUSH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SWAP_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_FOLD_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_RECALLS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_LATEST = 1000
_TENTHS = tuple(n / 10 for n in range(11))
_RATIOS = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)


def counter(name: str, about: str, label: str, values: Sequence[str], registry: CollectorRegistry) -> Counter:
    """A counter by one label, 0 for each value."""
    made = Counter(name, about, (label,), registry=registry)
    for value in values:
        made.labels(value)
    return made


@lru_cache(maxsize=4096)
def labelled(metric: Any, *values: object) -> Any:
    """A metric's child for some labels; finding it anew takes longer than counting."""
    return metric.labels(*values)


class SearchMetrics:
    """Of searches in the index."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batch = Histogram(
            "i3rec_search_batch_queries",
            "Searches that shared one pass over the index.",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )
        about = "Searches, by whether what was found before could be given again."
        self.recalls = counter("i3rec_search_recalls", about, "known", ("yes", "no"), registry)

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
        labelled(self.folds, "failed" if seconds is None else "done").inc()
        if seconds is not None:
            self.fold_seconds.observe(seconds)

    def recalled(self, *, known: bool) -> None:
        """Counts a search that was remembered, or was not."""
        labelled(self.recalls, "yes" if known else "no").inc()


class ShownMetrics:
    """Of what lists show of the catalogue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        about = "Share of the trained items that stood in a list within the last hour; NaN without a model."
        self.coverage = Gauge("i3rec_list_coverage", about, registry=registry)
        about = "New items that stood in a list at least once since the process started."
        self.new_items = Gauge("i3rec_new_items_shown", about, registry=registry)


class ShadowMetrics:
    """Of lists that are made again by the version on trial."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.overlap = Histogram(
            "i3rec_shadow_overlap",
            "Share of a list that the version in shadow also gives.",
            registry=registry,
            buckets=_TENTHS,
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


class JournalMetrics:
    """Of the journal; is told of every flush, on the writer's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batch = Histogram(
            "i3rec_journal_batch_records", "Records that shared one flush to disk.", registry=registry, buckets=_RECORDS
        )
        self.flush_seconds = Histogram(
            "i3rec_journal_flush_seconds",
            "Time to bring one batch to disk, waiting for the database included.",
            registry=registry,
            buckets=_FLUSH_SECONDS,
        )
        self.failures = counter(
            "i3rec_journal_failures", "Batches that could not be written.", "reason", ("full", "unavailable"), registry
        )
        results = ("done", "failed")
        self.compactions = counter(
            "i3rec_journal_compactions", "Attempts to remove void records.", "result", results, registry
        )
        self.compacted = Counter(
            "i3rec_journal_compacted_records", "Void records that were removed.", registry=registry
        )
        self.failing = False

    def flushed(self, records: int, seconds: float) -> None:
        """Notes a batch that is on disk."""
        self.failing = False
        self.batch.observe(records)
        self.flush_seconds.observe(seconds)

    def refused(self, *, full: bool) -> None:
        """Notes a batch that could not be written."""
        self.failing = True
        self.failures.labels("full" if full else "unavailable").inc()


class EncodeMetrics:
    """Of the encoder: how much it is given at once, how sure it is, how long its vectors are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batch = Histogram(
            "i3rec_encode_batch_items",
            "Items encoded together, by what asked for it.",
            ("source",),
            registry=registry,
            buckets=_RECORDS,
        )
        self._confidence = Histogram(
            "i3rec_encode_confidence", "Confidence in items that were written.", registry=registry, buckets=_TENTHS
        )
        self._norm_ratio = Histogram(
            "i3rec_embedding_norm_ratio",
            "Length of vectors of items that were written; 1 = as long as trained items' are on average.",
            registry=registry,
            buckets=_RATIOS,
        )
        self.waiting = Gauge("i3rec_encode_waiting_requests", "Requests that wait for an encoding.", registry=registry)
        self._typical_length = 0.0
        for source in ("item", "batch", "replay"):
            self._batch.labels(source)

    def count(self, source: str, items: int) -> None:
        """Notes how many items were encoded together."""
        if items:
            self._batch.labels(source).observe(items)

    def compare_with(self, typical_length: float) -> None:
        """From now on vectors are compared with this length; 0 = with none."""
        self._typical_length = typical_length

    def note(self, encoding: Encoding) -> None:
        """Notes what an item that was written was encoded to."""
        self._confidence.observe(encoding.confidence)
        if self._typical_length:
            # The square of what float32 can hold may be more than it can hold.
            length = float(np.linalg.norm(encoding.embedding.astype(np.float64)))
            self._norm_ratio.observe(length / self._typical_length)


class CacheMetrics:
    """Of the feature cache."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.healthy = Gauge("i3rec_cache_healthy", "1 while the feature cache answers.", registry=registry)
        self.breaker_open = Gauge(
            "i3rec_cache_breaker_open", "1 while the cache is not asked, as it failed too often.", registry=registry
        )
        self._lookups = counter(
            "i3rec_cache_lookups", "Encodings looked up in the cache.", "result", ("hit", "miss"), registry
        )

    def count(self, hits: int, misses: int) -> None:
        """Counts what a look into the cache found."""
        self._lookups.labels("hit").inc(hits)
        self._lookups.labels("miss").inc(misses)


class ModelMetrics:
    """Of the model versions: what serves, since when, and what became of attempts to exchange it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.swaps = counter(
            "i3rec_model_swaps", "Attempts to serve another model version.", "result", ("done", "failed"), registry
        )
        self.swap_seconds = Histogram(
            "i3rec_model_swap_seconds",
            "Time from the decision for a version until it served.",
            registry=registry,
            buckets=_SWAP_SECONDS,
        )
        self.info = Gauge("i3rec_model_info", "1 for the version that serves.", ("model_version",), registry=registry)
        self.age_s = Gauge(
            "i3rec_model_age_seconds",
            "Time since the version that serves was made; NaN without one.",
            registry=registry,
        )
        self.load_failed = Gauge(
            "i3rec_model_load_failed", "1 while the promoted version cannot be made to serve.", registry=registry
        )
        self.trial_share = Gauge(
            "i3rec_trial_share", "Share of users in the trial of a version; 0 without one.", registry=registry
        )
        self.trial_failures = Counter(
            "i3rec_trial_failures", "Versions on trial that could not be loaded or followed.", registry=registry
        )

    def serves(self, version: str) -> None:
        """Notes that a version serves from now on."""
        self.swaps.labels("done").inc()
        self.info.clear()
        self.info.labels(version).set(1)
