"""Lists written in C are those written in Python, byte for byte."""

import sys
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.list_writer import NativeListWriter, list_writer
from service.label_sheet import Label, Sheet
from service.labels import ListWriter, Places, label_of
from service.paging import Shown, hash_of, read_cursor
from service.queries import Hits

_kernels = pytest.importorskip("service.adapters._kernels", reason="there was no compiler")
TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('%"\\,{}é☃'), min_size=1, max_size=12)
SCORES = st.floats() | st.sampled_from([0.0, 1.0, 1e-9, 1e300, 0.1, 1 / 3])
LISTS = st.lists(st.tuples(TEXTS, SCORES, TEXTS | st.none()), max_size=120)


def _sized(size: int, label: bytes) -> bytes:
    return size.to_bytes(4, sys.byteorder) + label


WRITERS = pytest.mark.parametrize("writer", [ListWriter(), NativeListWriter()], ids=["python", "c"])


def listed(writer: ListWriter, labels: list[Label], scores: list[float]) -> tuple[bytes, str] | None:
    """The list of labels that no sheet has."""
    return writer.listed(Sheet(0), [0] * len(labels), list(labels), scores)


@given(LISTS, st.randoms(use_true_random=False))
def test_it_writes_the_same(items: list[tuple[str, float, str | None]], random: Random) -> None:
    """Whatever the ids, scores and titles, and however many places there are; of a sheet's rows, and of others."""
    labels = [label_of(item_id, title) for item_id, _, title in items]
    scores, rows = [score for _, score, _ in items], list(range(2, 2 + len(items)))
    own: list[Label | None] = [label if random.random() < 0.3 else None for label in labels]
    whole, sheet = Sheet(200), Sheet(200)
    whole.write(rows, labels)
    kept = [n for n, label in enumerate(own) if label is None]
    sheet.write([rows[n] for n in kept], [labels[n] for n in kept])

    expected = listed(ListWriter(), labels, scores)

    assert expected
    assert expected[1] == Shown().and_these(item_id for item_id, _, _ in items).cursor()
    assert listed(NativeListWriter(), labels, scores) == expected
    for writer in (ListWriter(), NativeListWriter()):
        assert writer.listed(whole, rows, None, scores) == expected
        assert writer.listed(sheet, rows, own, scores) == expected


@given(st.lists(TEXTS, min_size=1, max_size=120))
def test_cursors_name_each_item_once(item_ids: list[str]) -> None:
    """In the order of the hashes."""
    labels = [label_of(item_id, None) for item_id in item_ids]

    _, cursor = listed(NativeListWriter(), labels, [0.0] * len(labels)) or (b"", "")

    assert cursor == Shown().and_these(item_ids).cursor()
    assert read_cursor(cursor, 1000).hashes == set(map(hash_of, item_ids))


@WRITERS
def test_rows_that_are_not_there_are_told(writer: ListWriter) -> None:
    """Nothing is written of what is not known yet."""
    sheet = Sheet(3)
    sheet.write([1], [label_of("b", "B")])

    assert writer.listed(sheet, [1, 2], None, [1.0, 0.5]) is None
    assert writer.listed(sheet, [1, 2], [label_of("b", "B"), None], [1.0, 0.5]) is None
    assert writer.listed(sheet, [1, 2], [None, label_of("c", "C")], [1.0, 0.5])
    assert writer.listed(sheet, [1], None, [1.0]) == listed(writer, [label_of("b", "B")], [1.0])


def test_later_pages_name_those_before_too() -> None:
    """And those of the page itself."""
    shown = Shown().and_these(["x", "y"])
    hits = Hits([0, 1], [1.0, 0.5], lambda slots: ["ab"[slot] for slot in slots])

    assert Places(hits, b"[]", "first").cursor(shown) == shown.and_these(["a", "b"]).cursor()
    assert Places(hits, b"[]", "first").cursor(Shown()) == "first"


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([b"12345{}"], b"1.0"),  # no place for a score
        ([b"12\0 5{}"], b"1.0"),
        ([b"12345{\0}"], b"1.0,2.0"),
        ([b"12345{\0}"], b""),
        ([b"12345{\0}"] * 2, b"1.0"),
        ([], b"1.0"),
        ([b"123\0"], b"1.0"),
        ((b"12345{\0}",), b"1.0"),
    ],
)
def test_what_does_not_fit_together_is_refused(labels: Any, scores: bytes) -> None:
    """Nothing is written beyond what there is room for."""
    with pytest.raises(ValueError, match="expected"):
        _kernels.listed(bytearray(1), np.zeros(0, np.int64), [0] * len(labels), labels, scores, b"\1")


def test_as_many_labels_are_expected_as_rows() -> None:
    """None that has no place, and no place without one."""
    for rows in ([], [0, 0]):
        with pytest.raises(ValueError, match="expected"):
            _kernels.listed(bytearray(1), np.zeros(1, np.int64), rows, [b"12345{\0}"], b"1", b"\1")


def test_labels_that_are_no_bytes_are_refused() -> None:
    """With a TypeError."""
    labels: Any = ["12345\0"]
    with pytest.raises(TypeError):
        _kernels.listed(bytearray(1), np.zeros(0, np.int64), [0], labels, b"1", b"\1")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (b"", 1),
        (b"....", 99),
        (b"\x07\0\0", 1),  # no whole length
        (b"\x07\0\0\012345\0", 1),  # longer than the text
        (b"\x04\0\0\01234\0", 1),
        (b"\x06\0\0\0123456", 1),
        (b"\x06\0\0\012345\0", -1),
    ],
)
def test_sheets_that_are_none_are_refused(text: bytes, start: int) -> None:
    """Nothing is read beyond the text."""
    with pytest.raises(ValueError, match="expected"):
        _kernels.listed(bytearray(b"\0" + text), np.array([start]), [0], None, b"1", b"\1")


@pytest.mark.parametrize("rows", [[1], [-1], (0,), [2**63 - 1]])
def test_rows_that_no_sheet_has_are_refused(rows: Any) -> None:
    """Nor is anything read beyond its starts."""
    with pytest.raises(ValueError, match="expected"):
        _kernels.listed(bytearray(8), np.zeros(1, dtype=np.int64), rows, None, b"1", b"\1")


def test_numbers_that_are_none_are_refused() -> None:
    """Also those that would run code to become some."""
    for rows, error in ((["0"], ValueError), ([np.int64(0)], ValueError), ([2**64], OverflowError)):
        with pytest.raises(error):
            _kernels.listed(bytearray(8), np.zeros(1, dtype=np.int64), rows, None, b"1", b"\1")


def test_the_quickest_is_chosen() -> None:
    """Where there is a compiler that is the one in C."""
    places, _ = listed(list_writer(), [label_of("a", "A")], [0.5]) or (b"", "")

    assert type(list_writer()) is NativeListWriter
    assert places == b'[{"item_id":"a","score":0.5,"rank":1,"title":"A"}]'
