"""How long searches take is learnt from those that were made."""

from hypothesis import given
from hypothesis import strategies as st

from service.pace import Pace


def test_nothing_is_expected_before_anything_was_seen() -> None:
    """So that the first search of an index of any size keeps nobody waiting."""
    assert Pace().expected_s(1) == float("inf")


@given(st.floats(1e-6, 1), st.floats(0, 1e-3), st.permutations(list(range(1, 17)) * 4), st.integers(1, 16))
def test_what_passes_take_is_learnt(begin_s: float, each_s: float, sizes: list[int], searches: int) -> None:
    """Where a pass takes time to begin and time for each search, what is expected is right but for a factor of two."""
    pace = Pace()
    for size in sizes:
        pace.note(size, begin_s + size * each_s)

    takes = begin_s + searches * each_s
    assert takes / 2.001 <= pace.expected_s(searches) <= 2.001 * takes


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(1e-6, 1e-3)), max_size=20), st.integers(1, 16))
def test_growing_catalogues_are_noticed_by_passes_of_any_size(seen: list[tuple[int, float]], size: int) -> None:
    """Whatever was seen before: once passes of one size take long, those of all sizes are expected to."""
    pace = Pace()
    for searches, seconds in seen:
        pace.note(searches, seconds)
    for _ in range(40):
        pace.note(size, 1.0)

    assert all(pace.expected_s(searches) >= 0.9 / size for searches in range(1, 17))


@given(st.integers(1, 16))
def test_a_hiccup_is_forgotten(size: int) -> None:
    """One pass that took a second for once is outweighed by some that did not."""
    pace = Pace()
    pace.note(size, 1.0)
    for _ in range(40):
        pace.note(size, 0.001)

    assert pace.expected_s(size) < 0.0021
