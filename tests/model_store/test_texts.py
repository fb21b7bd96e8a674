"""Strings in one text, and the table that finds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import model_store.texts
from model_store.row_table import RowTable
from model_store.texts import lines_of, places_of

LINES = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=5), max_size=20)


@given(lines=LINES, block=st.integers(1, 9), data=st.data())
def test_lines_come_back(lines: list[str], block: int, data: st.DataObject) -> None:
    """Every line of a text is there, alone, among others and in turn, in however small pieces it is looked at."""
    rows = data.draw(st.lists(st.integers(0, len(lines) - 1), max_size=5)) if lines else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_store.texts, "_BLOCK", block)
        patch.setattr(model_store.texts, "_TOGETHER", block)

        texts = lines_of("".join(f"{line}\n" for line in lines).encode())

        assert list(texts) == lines
        assert [texts[row] for row in range(len(texts))] == lines
        assert texts.take(rows) == [lines[row] for row in rows]


def test_rows_outside_have_no_text() -> None:
    """As in a list, an IndexError says so."""
    texts = lines_of(b"a\nb\n")

    with pytest.raises(IndexError):
        texts[2]
    with pytest.raises(IndexError):
        texts.take([0, 2])


def test_places_are_small_numbers_where_that_is_enough() -> None:
    """Places take four bytes each as long as the text is below two GiB."""
    places = places_of(b"a\tb\nc\n", b"\t\n")

    assert places.tolist() == [1, 3, 5]
    assert places.dtype == np.int32


class Hashed(str):
    """A string that chooses its hash: its first number."""

    __slots__ = ()

    def __hash__(self) -> int:
        return int(self.split()[0])


HASHES = st.sampled_from([0, 1, 2, -1, -(2**63), 2**61 - 1, 2**63 - 1, 2**63 - 2, -(2**62)])
HASHED = st.builds(lambda number, name: Hashed(f"{number} {name}"), HASHES, st.sampled_from("abcdef"))


@given(st.lists(HASHED, max_size=30, unique_by=str), st.lists(HASHED, max_size=10))
def test_strings_of_the_same_hash_are_told_apart(values: list[Hashed], asked: list[Hashed]) -> None:
    """Whatever their hashes, all strings are found at their rows, others are not, and likely doubles are named."""
    table = RowTable(values)  # type: ignore[arg-type]

    assert [table.get(value) for value in values] == list(range(len(values)))
    for value in asked:
        row = next((row for row, other in enumerate(values) if str.__eq__(other, value)), None)
        assert table.get(value) == row
        assert (value in table) == (row is not None)
    hashes = [hash(value) for value in values]
    assert table.doubtful == [row for row, each in enumerate(hashes) if hashes.count(each) > 1]
