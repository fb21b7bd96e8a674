"""Which share of the catalogue is shown."""

import math

import pytest

from model_store import IdMap
from service.coverage import Coverage


class Clock:
    """Tells the time a test wants."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def ids(n: int) -> list[str]:
    """As many ids."""
    return [f"i{number}" for number in range(n)]


def exists(_: str) -> bool:
    """Nothing was deleted."""
    return True


def test_a_small_catalogue_is_watched_whole() -> None:
    """The share is exact: each item counts once, however often it is shown, and unknown ones do not."""
    coverage = Coverage(IdMap(ids(10)))

    assert coverage.share(exists) == 0
    coverage.note([1, 2, 10])
    coverage.note([2, 3])

    assert coverage.share(exists) == pytest.approx(0.3)


def test_what_was_shown_long_ago_counts_no_more() -> None:
    """An item counts for the length of the window after it was shown for the last time."""
    clock = Clock()
    coverage = Coverage(IdMap(ids(4)), window_s=60, clock=clock)

    coverage.note([0, 1])
    clock.now += 50
    coverage.note([1])
    clock.now += 20

    assert coverage.share(exists) == pytest.approx(0.25)


def test_what_is_gone_does_not_count() -> None:
    """Deleted items can neither be shown nor lack; where nothing is left there is no share."""
    coverage = Coverage(IdMap(ids(4)))
    coverage.note([0, 1])

    assert coverage.share(lambda item_id: item_id in {"i0", "i3"}) == pytest.approx(0.5)
    assert math.isnan(coverage.share(lambda _: False))
    assert math.isnan(Coverage(IdMap([])).share(exists))


def test_a_large_catalogue_is_told_by_a_sample() -> None:
    """A fifth of 50,000 items is told to five standard errors, and no more than the sample is kept."""
    most = 1000
    coverage = Coverage(IdMap(ids(50_000)), most)

    for start in range(0, 10_000, 20):
        coverage.note(range(start, start + 20))

    error = math.sqrt(0.2 * 0.8 / most)
    assert coverage.share(exists) == pytest.approx(0.2, abs=5 * error)
    assert len(coverage._watched) == most
    assert len(coverage._last) <= most
