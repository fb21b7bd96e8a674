"""The metrics of each part of the service that writes: journal, encoder, cache, models; and what all metrics share.

Every value a label can have is there from the start: what never happened reads 0, so that rates and alerts see the
first time it does.
"""

from collections.abc import Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain import Encoding
from service.tallies import Spreads, Tallies

REASONS = ("cache", "history", "index", "journal", "model")
"""Why the service may be degraded."""
_FLUSH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SWAP_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TENTHS = tuple(n / 10 for n in range(11))
_RATIOS = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)


def tallies(name: str, about: str, label: str, values: Sequence[str], registry: CollectorRegistry) -> Tallies:
    """A counter by one label, 0 for each value, for what every list counts."""
    made = Tallies(name, about, (label,), registry)
    for value in values:
        made.labels(value)
    return made


def counter(name: str, about: str, label: str, values: Sequence[str], registry: CollectorRegistry) -> Counter:
    """A counter by one label, 0 for each value."""
    made = Counter(name, about, (label,), registry=registry)
    for value in values:
        made.labels(value)
    return made


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
        about = "Confidence in items that were written."
        self._confidence = Spreads("i3rec_encode_confidence", about, (), registry, TENTHS).labels()
        about = "Length of vectors of items that were written; 1 = as long as trained items' are on average."
        self._norm_ratio = Spreads("i3rec_embedding_norm_ratio", about, (), registry, _RATIOS).labels()
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

    def note(self, *encodings: Encoding) -> None:
        """Notes what items that were written were encoded to."""
        if not encodings:
            return
        self._confidence.observe_all([encoding.confidence for encoding in encodings])
        if self._typical_length:
            # The square of what float32 can hold may be more than it can hold.
            vectors = np.array([encoding.embedding for encoding in encodings], dtype=np.float64)
            self._norm_ratio.observe_all(np.linalg.norm(vectors, axis=1) / self._typical_length)


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
