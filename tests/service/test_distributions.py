"""Histograms that take many values at once."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.distributions import Distribution

BUCKETS = (0.1, 0.25, 1.0, 2.0)


def shown(registry: CollectorRegistry) -> str:
    """What is scraped, without the moment of making."""
    return re.sub(r"(?m)^(\w+_created) .*$", r"\1", generate_latest(registry).decode())


@given(st.lists(st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0, 1.5, 2.0, 64.0]), max_size=9)))
def test_it_shows_what_a_histogram_shows(batches: list[list[float]]) -> None:
    """To the letter, bounds included, whatever is observed together (sums of these numbers are exact in any order)."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    many = Distribution("some_values", "Of some kind.", BUCKETS, ours)
    one = Histogram("some_values", "Of some kind.", buckets=BUCKETS, registry=theirs)

    for batch in batches:
        many.observe(batch)
        for value in batch:
            one.observe(value)

    assert shown(ours) == shown(theirs)


def test_a_name_is_registered_once() -> None:
    """A second metric of the same name is refused, as it is of the library's own."""
    registry = CollectorRegistry()
    Distribution("some_values", "Of some kind.", BUCKETS, registry)

    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("some_values", "Of some kind.", registry=registry)


def test_what_is_beyond_all_bounds_is_counted() -> None:
    """Also where it is larger than float32 can hold."""
    registry = CollectorRegistry()
    made = Distribution("some_values", "Of some kind.", BUCKETS, registry)

    made.observe(np.array([3e38 * 4, 0.2]))

    assert registry.get_sample_value("some_values_bucket", {"le": "2.0"}) == 1
    assert registry.get_sample_value("some_values_bucket", {"le": "+Inf"}) == 2
    assert registry.get_sample_value("some_values_sum") == pytest.approx(1.2e39)
