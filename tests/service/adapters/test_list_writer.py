"""Lists written in C are those written in Python, byte for byte."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters.list_writer import NativeListWriter, list_writer
from service.labels import Label, ListWriter, Places, label_of
from service.paging import Shown, hash_of, read_cursor
from service.queries import Hits

_kernels = pytest.importorskip("service.adapters._kernels", reason="there was no compiler")
TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('%"\\,{}é☃'), min_size=1, max_size=12)
SCORES = st.floats() | st.sampled_from([0.0, 1.0, 1e-9, 1e300, 0.1, 1 / 3])
LISTS = st.lists(st.tuples(TEXTS, SCORES, TEXTS | st.none()), max_size=120)


@given(LISTS)
def test_it_writes_the_same(items: list[tuple[str, float, str | None]]) -> None:
    """Whatever the ids, scores and titles, and however many places there are."""
    labels = [label_of(item_id, title) for item_id, _, title in items]
    scores = [score for _, score, _ in items]

    assert NativeListWriter().places(labels, scores) == ListWriter().places(labels, scores)


@given(st.lists(TEXTS, min_size=1, max_size=120))
def test_cursors_are_the_same(item_ids: list[str]) -> None:
    """Each item once, in the order of the hashes."""
    labels = [label_of(item_id, None) for item_id in item_ids]

    cursor = NativeListWriter().cursor(labels)

    assert cursor == ListWriter().cursor(labels) == Shown().and_these(item_ids).cursor()
    assert read_cursor(cursor, 1000).hashes == set(map(hash_of, item_ids))


def test_later_pages_name_those_before_too() -> None:
    """By either writer."""
    shown = Shown().and_these(["x", "y"])
    labels = [label_of("a", None), label_of("b", "B")]
    hits = Hits([0, 1], [1.0, 0.5], lambda slots: ["ab"[slot] for slot in slots])

    cursors = {Places(hits, labels, writer).cursor(shown) for writer in (ListWriter(), NativeListWriter())}

    assert cursors == {shown.and_these(["a", "b"]).cursor()}


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([(b"{}", b"12345")], b"1.0"),  # no place for a score
        ([(b"{\0}", b"12345")], b"1.0,2.0"),
        ([(b"{\0}", b"12345")], b""),
        ([(b"{\0}", b"12345")] * 2, b"1.0"),
        ([], b"1.0"),
        ([(b"{\0}",)], b"1.0"),
        ([b"{\0}"], b"1.0"),
    ],
)
def test_what_does_not_fit_together_is_refused(labels: Any, scores: bytes) -> None:
    """Nothing is written beyond what there is room for."""
    with pytest.raises(ValueError, match="expected"):
        _kernels.places(labels, scores)


@pytest.mark.parametrize("labels", [[(b"", b"1234")], [(b"", b"123456")], [(b"",)], ((b"", b"12345"),)])
def test_cursors_of_other_hashes_are_refused(labels: Any) -> None:
    """Five bytes each."""
    with pytest.raises(ValueError, match="expected"):
        _kernels.cursor(labels, b"\1")


@pytest.mark.parametrize("call", [_kernels.places, _kernels.cursor])
def test_parts_that_are_no_bytes_are_refused(call: Any) -> None:
    """With a TypeError."""
    with pytest.raises(TypeError):
        call([("a\0", "12345")], b"1")


def test_the_quickest_is_chosen() -> None:
    """Where there is a compiler that is the one in C."""
    labels: list[Label] = [label_of("a", "A")]

    assert type(list_writer()) is NativeListWriter
    assert list_writer().places(labels, [0.5]) == b'[{"item_id":"a","score":0.5,"rank":1,"title":"A"}]'
