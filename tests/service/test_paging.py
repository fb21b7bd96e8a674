"""Cursors: what they remember, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidCursor
from service.paging import Shown, read_cursor

IDS = st.sets(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()), min_size=1, max_size=50)


@given(shown=IDS, others=IDS)
def test_cursor_remembers_what_was_shown_and_nothing_else(shown: set[str], others: set[str]) -> None:
    """In any order and number of pages; only characters that need no escaping in a URL."""
    halves = Shown().and_these(sorted(shown)[::2]).and_these(sorted(shown)[1::2])

    text = halves.cursor()
    found = read_cursor(text, most=50)

    assert found == Shown().and_these(shown)
    assert all(item_id in found for item_id in shown)
    assert not any(item_id in found for item_id in others - shown)
    assert len(found) == len(shown)
    assert text.replace("-", "a").replace("_", "a").isalnum()


@pytest.mark.parametrize(
    "text", ["", "A", "AQ", "AQID", "!!!!", "ü", Shown().and_these("ab").cursor() + "A", "AgABAgME"]
)
def test_what_was_never_given_is_refused(text: str) -> None:
    """Empty, cut off, with something added, of another format, or no base64 at all."""
    with pytest.raises(InvalidCursor, match="as it was given"):
        read_cursor(text, most=50)


def test_cursor_is_bounded() -> None:
    """Over more items than may be led past."""
    cursor = Shown().and_these(map(str, range(11))).cursor()

    assert len(read_cursor(cursor, most=11)) == 11
    with pytest.raises(InvalidCursor, match="at most 10 items"):
        read_cursor(cursor, most=10)
