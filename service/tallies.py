"""Counters and histograms for what every request counts: as prometheus_client's are read, at half the price.

They know their labels' values by the objects they are given, look for no exemplars, and find the bucket of a number by
bisection. Whoever reads a registry sees no difference.
"""

import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import add
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

Child = TypeVar("Child")


class Tally:
    """One count; thread-safe."""

    __slots__ = ("_lock", "created", "value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.created = time.time()
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Counts so much more."""
        with self._lock:
            self.value += amount


class Spread:
    """How numbers spread over buckets; thread-safe.

    Args:
        bounds: the largest number of each bucket but the last, ascending.
    """

    __slots__ = ("_bounds", "_counts", "_lock", "_sum", "created")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._lock = threading.Lock()
        self.created = time.time()
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, number: float) -> None:
        """Counts a number."""
        place = bisect_left(self._bounds, number)
        with self._lock:
            self._counts[place] += 1
            self._sum += number

    def observe_all(self, numbers: ArrayLike) -> None:
        """Counts numbers (n,), none of them NaN; thousands cost as little as a few."""
        values = np.asarray(numbers, dtype=np.float64)
        counts = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts)).tolist()
        with self._lock:
            self._counts = list(map(add, self._counts, counts))
            self._sum += float(values.sum())

    def read(self) -> tuple[list[int], float]:
        """How many numbers lie in each bucket or one before it, and the sum of all."""
        with self._lock:
            return list(accumulate(self._counts)), self._sum


class Tallies:
    """A counter by labels.

    Args:
        name: of the metric, without ``_total``.
        about: what it counts.
        labels: their names.
        registry: where it is read.
    """

    def __init__(self, name: str, about: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._names = (name, about, labels)
        self._children = _Children(Tally)
        self.labels = self._children.get
        registry.register(self)

    def describe(self) -> list[CounterMetricFamily]:
        """The metric without its children."""
        name, about, labels = self._names
        return [CounterMetricFamily(name, about, labels=labels)]

    def collect(self) -> list[CounterMetricFamily]:
        """The metric as it stands."""
        (family,) = self.describe()
        for values, child in self._children.all():
            family.add_metric(values, child.value, created=child.created)
        return [family]


class Spreads:
    """A histogram by labels.

    Args:
        name: of the metric.
        about: what it measures.
        labels: their names.
        registry: where it is read.
        buckets: the largest number of each but the last, ascending.
    """

    def __init__(
        self, name: str, about: str, labels: Sequence[str], registry: CollectorRegistry, buckets: Sequence[float]
    ) -> None:
        self._names = (name, about, labels)
        self._bounds = [floatToGoString(bound) for bound in (*buckets, math.inf)]  # type: ignore[no-untyped-call]
        self._children: _Children[Spread] = _Children(lambda: Spread(tuple(buckets)))
        self.labels = self._children.get
        registry.register(self)

    def describe(self) -> list[HistogramMetricFamily]:
        """The metric without its children."""
        name, about, labels = self._names
        return [HistogramMetricFamily(name, about, labels=labels)]

    def collect(self) -> list[HistogramMetricFamily]:
        """The metric as it stands."""
        (family,), (name, _, labels) = self.describe(), self._names
        for values, child in self._children.all():
            counts, total = child.read()
            family.add_metric(values, list(zip(self._bounds, counts, strict=True)), total)
            family.add_sample(f"{name}_created", dict(zip(labels, values, strict=True)), child.created)
        return [family]


class _Children(Generic[Child]):
    """The children of a metric by the values of its labels."""

    def __init__(self, make: Callable[[], Child]) -> None:
        self._make = make
        self._made: dict[tuple[str, ...], Child] = {}
        self._at_hand: dict[tuple[object, ...], Child] = {}
        self._lock = threading.Lock()

    def get(self, *values: object) -> Child:
        """The child of these values; it is there from the first time it is asked for."""
        return self._at_hand.get(values) or self._find(values)

    def all(self) -> list[tuple[tuple[str, ...], Child]]:
        """All that are there, each with its values."""
        with self._lock:
            return list(self._made.items())

    def _find(self, values: tuple[object, ...]) -> Child:
        with self._lock:
            found = self._at_hand[values] = self._made.setdefault(tuple(map(str, values)), self._make())
        return found
