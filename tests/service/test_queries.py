"""What a search finds, as numbers and as ids."""

from collections.abc import Sequence

from service.queries import Hit, Hits


class Names:
    """Ids of slots; remembers what it was asked."""

    def __init__(self, ids: str) -> None:
        self.known = ids
        self.asked: list[list[int]] = []

    def of(self, slots: Sequence[int]) -> list[str]:
        """The ids."""
        self.asked.append(list(slots))
        return [self.known[slot] for slot in slots]


def test_hits_are_a_sequence() -> None:
    """Whoever looks at them finds ids and scores, best first, and equal to a list of the same."""
    hits = Hits([2, 0, 1], [0.9, 0.5, 0.25], Names("abc").of)
    listed = [Hit("c", 0.9), Hit("a", 0.5), Hit("b", 0.25)]

    assert list(hits) == listed
    assert (hits[0], hits[-1], len(hits)) == (listed[0], listed[-1], 3)
    assert hits == listed
    assert listed == hits
    assert hits != listed[:2]
    assert hits[:2] == listed[:2]
    assert hits[1:].slots == [0, 1]
    assert repr(hits[:1]) == f"Hits({listed[:1]})"


def test_ids_are_looked_up_when_they_are_asked_for() -> None:
    """Once for all, or for some alone; slices look up their own."""
    names = Names("abc")
    hits = Hits([2, 0], [0.9, 0.5], names.of)

    assert hits == Hits([2, 0], [0.9, 0.5], names.of)
    assert hits != Hits([2, 1], [0.9, 0.5], names.of)
    assert hits != Hits([2, 0], [0.9, 0.4], names.of)
    assert not names.asked
    assert hits.ids == hits.ids == ["c", "a"]
    assert hits.ids_of([0]) == ["a"]
    assert hits[1:].ids == ["a"]
    assert names.asked == [[2, 0], [0], [0]]


def test_hits_of_different_indexes_are_told_by_their_ids() -> None:
    """The same item may have another number in another index, and another item the same."""
    hits = Hits([0], [0.5], Names("ab").of)

    assert hits == Hits([1], [0.5], Names("ba").of)
    assert hits != Hits([0], [0.5], Names("ba").of)
    assert hits != 7
