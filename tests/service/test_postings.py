"""Columns turned round."""

from hypothesis import given
from hypothesis import strategies as st

from service.postings import post

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
    assert set(turned.places) == {7, 8}
