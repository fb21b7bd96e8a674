"""Counters and histograms of our own, beside those they stand in for."""

import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open
from prometheus_client.registry import DuplicateTimeseries

from service.tallies import Spreads, Tallies

BUCKETS = (0.5, 1, 2.5)
_CREATED = re.compile(rb"(_created\S*) \S+")


def texts(registry: CollectorRegistry) -> list[bytes]:
    """A registry as it is read, but for when its metrics were made."""
    return [_CREATED.sub(rb"\1 then", generate(registry)) for generate in (generate_latest, generate_open)]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([200, 404]), st.sampled_from([0, 0.5, 0.7, 1, 2.5, 3]))),
    st.booleans(),
)
def test_registries_read_as_ever(events: list[tuple[str, int, float]], labelled: bool) -> None:
    """With labels and without, the same text as of prometheus_client's own; numbers on a bound lie below it."""
    labels = ("kind", "status") if labelled else ()
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies, spreads = Tallies("seen", "How many.", labels, ours), Spreads("s", "How long.", labels, ours, BUCKETS)
    counter = Counter("seen", "How many.", labels, registry=theirs)
    histogram = Histogram("s", "How long.", labels, registry=theirs, buckets=BUCKETS)
    if not labelled:
        tallies.labels(), spreads.labels()

    for kind, status, number in events:
        values = (kind, status) if labelled else ()
        tallies.labels(*values).inc(number)
        spreads.labels(*values).observe(number)
        (counter.labels(*values) if labelled else counter).inc(number)
        (histogram.labels(*values) if labelled else histogram).observe(number)

    assert texts(ours) == texts(theirs)


def test_values_that_read_alike_are_one_child() -> None:
    """A status is the same as a number and as a text."""
    tallies = Tallies("seen", "How many.", ("status",), CollectorRegistry())

    assert tallies.labels(200) is tallies.labels("200") is tallies.labels(200)


def test_names_are_taken_once() -> None:
    """A registry refuses a second metric of a name, and finds the first by any of its names."""
    registry = CollectorRegistry()
    Spreads("s", "How long.", (), registry, BUCKETS).labels().observe(1)

    with pytest.raises(DuplicateTimeseries):
        Tallies("s", "How many.", (), registry)
    assert registry.get_sample_value("s_bucket", {"le": "1.0"}) == 1
    assert b"s_sum 1.0" in generate_latest(registry.restricted_registry(["s_sum"]))


def test_nothing_is_lost_between_threads() -> None:
    """Counts of several threads add up."""
    registry, times = CollectorRegistry(), 20_000
    tally, spread = Tallies("seen", "", (), registry).labels(), Spreads("s", "", (), registry, BUCKETS).labels()

    def count() -> None:
        for _ in range(times):
            tally.inc()
            spread.observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [registry.get_sample_value(name) for name in ("seen_total", "s_count", "s_sum")] == [4 * times] * 3


@given(st.lists(st.lists(st.sampled_from([0.0, 0.125, 0.5, 1.0, 1.5, 2.5, 64.0]), max_size=9)))
def test_many_at_once_count_as_each_by_itself(batches: list[list[float]]) -> None:
    """To the letter, bounds included, whatever comes together (sums of these numbers are exact in any order)."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    many = Spreads("s", "How long.", (), ours, BUCKETS).labels()
    one = Histogram("s", "How long.", registry=theirs, buckets=BUCKETS)

    for batch in batches:
        many.observe_all(batch)
        for value in batch:
            one.observe(value)

    assert texts(ours) == texts(theirs)


def test_what_is_beyond_all_bounds_is_counted() -> None:
    """Also where it is larger than float32 can hold."""
    registry = CollectorRegistry()

    Spreads("s", "How long.", (), registry, BUCKETS).labels().observe_all([3e38 * 4, 0.2])

    assert registry.get_sample_value("s_bucket", {"le": "2.5"}) == 1
    assert registry.get_sample_value("s_bucket", {"le": "+Inf"}) == 2
    assert registry.get_sample_value("s_sum") == pytest.approx(1.2e39)
