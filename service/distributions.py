"""Histograms that take many values at once."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Distribution(Collector):
    """A histogram without labels, as ``prometheus_client.Histogram`` shows it; thousands of values cost as one does.

    Args:
        name: of the metric.
        about: its documentation.
        buckets: their upper bounds, ascending, each part of its bucket; without infinity.
        registry: shows it.
    """

    def __init__(self, name: str, about: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._about = about
        self._bounds = np.array(buckets, dtype=np.float64)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._made = time.time()
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, values: ArrayLike) -> None:
        """Counts values (n,), none of them NaN."""
        numbers = np.asarray(values, dtype=np.float64)
        places = np.searchsorted(self._bounds, numbers)  # the first bound that is no less
        counts, total = np.bincount(places, minlength=len(self._counts)), float(numbers.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def describe(self) -> Iterator[Metric]:
        """What it is called."""
        yield HistogramMetricFamily(self._name, self._about)

    def collect(self) -> Iterator[Metric]:
        """What was counted up to now."""
        with self._lock:
            up_to, total = np.cumsum(self._counts).tolist(), self._sum
        bounds = [*self._bounds.tolist(), np.inf]
        family = HistogramMetricFamily(self._name, self._about)
        family.add_metric([], list(zip(map(floatToGoString, bounds), up_to, strict=True)), total)
        family.add_sample(f"{self._name}_created", {}, self._made)
        yield family
