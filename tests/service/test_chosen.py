"""Sets of items known by their ids and by their rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model_store import IdMap
from service.chosen import Chosen

ITEMS = IdMap(f"i{row}" for row in range(6))


@given(ids=st.frozensets(st.sampled_from(["x", "y", "z"])), rows=st.frozensets(st.integers(0, 5)))
def test_chosen_items_are_a_set_of_ids(ids: frozenset[str], rows: frozenset[int]) -> None:
    """Size, members and comparisons are those of the set of all ids, however they are known."""
    chosen = Chosen(ids, np.array(sorted(rows), dtype=np.int32), ITEMS)
    names = ids | {f"i{row}" for row in rows}

    assert chosen == names
    assert len(chosen) == len(names)
    assert sorted(chosen) == sorted(names)
    assert {each for each in [*ITEMS, "x", "y", "z", "nope", 7] if each in chosen} == names


def test_items_can_be_chosen_by_id_alone() -> None:
    """Then the bundle's items are not needed."""
    assert Chosen(frozenset({"a"})) == {"a"}
    assert "b" not in Chosen(frozenset({"a"}))
    assert "i0" in Chosen(frozenset(), np.array([0], dtype=np.int32), ITEMS)
