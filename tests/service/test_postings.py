"""Columns turned round."""

import math
import sys
import threading
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.facets import AttributeIs, key_of
from service.postings import Key, Numbers, Postings, Written, post

CELLS = st.lists(st.lists(st.sampled_from("XYZ"), max_size=3).map("|".join), max_size=12)


def values_in(cell: str) -> list[str]:
    """The values of a cell; some may be there twice."""
    return [value for value in cell.split("|") if value]


@given(cells=CELLS, keys=st.lists(st.sampled_from("XYZQ"), max_size=3))
def test_rows_of_values_are_those_a_look_at_every_cell_finds(cells: list[str], keys: list[str]) -> None:
    """Each row that has one of the values is found once, in ascending order."""
    found = post(cells, values_in).of_any(keys)

    assert found.tolist() == [row for row, cell in enumerate(cells) if {*values_in(cell)} & {*keys}]


def test_values_that_are_equal_are_one() -> None:
    """Numbers are found by value, however they were written."""
    turned = post(["7", "", "7.0", "8"], lambda cell: [float(cell)] if cell else [])

    assert turned.of_any([7]).tolist() == [0, 2]
    assert turned.of_any([7.5, 9, math.nan]).tolist() == []
    assert turned.numbers == [7, 8]


NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.0, 2.0**53, 2**53, 2**53 + 1, 2**63, 2.0**64, 10**400, -(10**400), 1e300, math.inf]),
)
TEXTS = st.sampled_from(["x", "true", "01", "-3", "2.50", str(2**53 + 1), "9" * 400, "9" * 400 + ".0"])
VALUES = st.one_of(NUMBERS, TEXTS, st.booleans())
BOUNDS = st.one_of(st.none(), NUMBERS, st.sampled_from([math.nan, -math.inf]))
conditions = st.builds(AttributeIs, st.just("p"), least=BOUNDS, most=BOUNDS, above=BOUNDS, below=BOUNDS)


def fulfils(value: Any, condition: AttributeIs) -> bool:
    """Whether one value is within the bounds, by one comparison for each as Python makes it."""
    key = key_of(value)
    return not isinstance(key, str) and all(
        bound is None or holds
        for bound, holds in (
            (condition.least, condition.least is not None and key >= condition.least),
            (condition.most, condition.most is not None and key <= condition.most),
            (condition.above, condition.above is not None and key > condition.above),
            (condition.below, condition.below is not None and key < condition.below),
        )
    )


def all_of(numbers: Numbers) -> tuple[int, int]:
    """Every number there is."""
    return 0, len(numbers)


def columns_of(values: list[Any]) -> tuple[Postings, Written]:
    """Values as a bundle has them, and as records do."""
    column = post(map(str, range(len(values))), lambda cell: [key_of(values[int(cell)])])
    return column, Written((str(n), key_of(value)) for n, value in enumerate(values))


@given(values=st.lists(VALUES, max_size=20), condition=conditions)
@example(values=[2**53 + 1, 2.0**53], condition=AttributeIs("p", above=2.0**53))
@example(values=[2**53 + 1, 2.0**53, 2**53 - 1], condition=AttributeIs("p", most=2**53))
@example(values=[1, True, "true"], condition=AttributeIs("p", most=math.nan))
def test_ranges_are_those_that_a_look_at_every_value_finds(values: list[Any], condition: AttributeIs) -> None:
    """Whole numbers that no fraction equals, numbers and bounds beyond all fractions, text that is none."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("service.postings._BLOCK", 2)
        turned, written = columns_of(values)

    expected = [n for n, value in enumerate(values) if fulfils(value, condition)]

    assert turned.within(condition.span).tolist() == expected
    assert written.within(condition.span) == {*map(str, expected)}
    assert [n for n, value in enumerate(values) if condition.holds(key_of(value))] == [
        *(expected if condition.bounded else range(len(values)))
    ]


@given(values=st.lists(VALUES, max_size=20), keys=st.lists(VALUES.map(key_of), max_size=4))
def test_values_are_found_among_any_others(values: list[Any], keys: list[Key]) -> None:
    """Numbers and text, those that are there and those that are not; and all there are."""
    turned, written = columns_of(values)

    expected = [n for n, value in enumerate(values) if key_of(value) in keys]

    assert turned.of_any(keys).tolist() == expected
    assert written.of_any(keys) == {*map(str, expected)}
    assert turned.of_all().tolist() == [*range(len(values))]
    assert written.of_all() == {*map(str, range(len(values)))}


class Counted(float):
    """A number that counts what it is compared with."""

    compared = 0

    def __le__(self, other: Any) -> bool:
        """As ever."""
        Counted.compared += 1
        return super().__le__(other)

    def __ge__(self, other: Any) -> bool:
        """As ever."""
        Counted.compared += 1
        return super().__ge__(other)


def test_a_range_compares_few_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bisection: fourteen steps for each bound and 10,000 values, a few more where they are in blocks."""
    monkeypatch.setattr(Counted, "compared", 0)
    turned, written = columns_of([*range(10_000)])
    condition = AttributeIs("p", least=Counted(10), most=Counted(19))

    assert turned.within(condition.span).tolist() == [*range(10, 20)]
    assert written.within(condition.span) == {*map(str, range(10, 20))}
    assert 4 <= Counted.compared <= 2 * 2 * 16


@given(
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), VALUES.map(key_of)), max_size=40),
    condition=conditions,
    block=st.sampled_from([1, 2, 500]),
)
def test_written_values_are_there_as_long_as_an_item_has_them(
    steps: list[tuple[bool, str, Key]], condition: AttributeIs, block: int
) -> None:
    """Whatever is entered and taken out, in any order and twice; what nobody has is not kept."""
    written, pairs = Written(), set[tuple[str, Key]]()
    for entered, item_id, key in steps:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("service.postings._BLOCK", block)
            (written.enter if entered else written.take_out)(item_id, key)
        (pairs.add if entered else pairs.discard)((item_id, key))

    keys = {key for _, key in pairs}
    assert len(written) == len(keys)
    assert all(written.of_any([key]) == {item_id for item_id, own in pairs if own == key} for key in keys)
    assert written.within(condition.span) == {item_id for item_id, key in pairs if fulfils(key, condition)}
    assert written.within(all_of) == {item_id for item_id, key in pairs if not isinstance(key, str)}


def test_numbers_are_never_missed_while_others_come_and_go() -> None:
    """Readers find what stands all the while, whatever is written before and behind it."""
    written, stop = Written((f"n{n}", n) for n in range(0, 30_000, 10)), threading.Event()

    def write() -> None:
        numbers = [n for n in range(12_000) if n % 10]
        while not stop.is_set():
            for n in numbers:
                written.enter(f"n{n}", n)
            for n in numbers:
                written.take_out(f"n{n}", n)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    writing = threading.Thread(target=write)
    writing.start()
    try:
        found = [written.within(all_of) for _ in range(100)]
    finally:
        stop.set()
        writing.join()
        sys.setswitchinterval(before)

    assert all(ids.issuperset(f"n{n}" for n in range(0, 30_000, 10)) for ids in found)
    assert max(map(len, found)) > 3000


def test_writing_one_of_many_numbers_shifts_few() -> None:
    """As few as stand in its block, which is divided before it grows, and goes once nothing is in it."""
    written = Written((f"n{n}", n) for n in range(10_000))
    for n in range(10_000):
        written.enter(f"h{n}", 5000 + n / 16384)
    assert len(written._numbers._blocks) > 10
    assert max(map(len, written._numbers._blocks)) <= 1000

    for n in range(10_000):
        written.take_out(f"n{n}", n)
        written.take_out(f"h{n}", 5000 + n / 16384)

    assert written.of_all() == set()
    assert written._numbers._blocks == [[]]
