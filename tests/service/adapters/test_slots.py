"""Ids keep the number they were given first."""

import numpy as np

from model_store import IdMap
from service.adapters.slots import Slots


def test_slots_are_given_once_and_lead_back() -> None:
    """The first ids have their rows, later ones the numbers after them, in the order they came."""
    slots = Slots(IdMap(["a", "b"]))

    assert [slots.give(item_id) for item_id in ("c", "b", "d", "c")] == [2, 1, 3, 2]
    assert slots.ids([3, 0, 2, 1]) == ["d", "a", "c", "b"]
    assert slots.ids([]) == []


def test_ids_without_a_slot_are_left_out() -> None:
    """Asking gives none; rows of the first items stand beside the ids."""
    slots = Slots(IdMap(["a", "b"]))
    slots.give("c")

    assert sorted(slots.of(["c", "x", "a"]).tolist()) == [0, 2]
    assert slots.of(["c"], np.array([1], np.int32)).tolist() == [2, 1]
    assert slots.of([], np.array([1, 0], np.int32)).tolist() == [1, 0]
    assert slots.of([]).tolist() == []
    assert slots.give("x") == 3
