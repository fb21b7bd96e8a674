"""Maximal marginal relevance and caps, against hand-worked lists and a plain reading of the formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.diversity import Cap, diversified
from service.queries import Hit

EAST, NORTH = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)


def hits(*scores: float) -> list[Hit]:
    """Hits a, b, c, … of these scores."""
    return [Hit(chr(ord("a") + n), score) for n, score in enumerate(scores)]


def test_copies_give_way_to_something_else() -> None:
    """a, b and c are alike, d is not: with a little diversity d comes in for b, the list stays in order of scores."""
    found = hits(4.0, 3.9, 3.8, 3.0)
    vectors = [EAST, 2 * EAST, EAST, NORTH]

    assert [hit.item_id for hit in diversified(found, vectors, 2, 0.0)] == ["a", "b"]
    assert [hit.item_id for hit in diversified(found, vectors, 2, 0.6)] == ["a", "d"]
    assert [hit.item_id for hit in diversified(found, vectors, 3, 0.6)] == ["a", "b", "d"]


def test_lists_that_cannot_choose_stay() -> None:
    """As many hits as places, fewer, or none."""
    found = hits(2.0, 1.0)

    assert diversified(found, [EAST, EAST], 2, 1.0) == found
    assert diversified(found, [EAST, EAST], 5, 1.0) == found
    assert diversified([], [], 5, 1.0) == []


@given(seed=st.integers(0, 999), n=st.integers(1, 12), k=st.integers(1, 12), diversity=st.floats(0.01, 1))
def test_choice_is_that_of_the_formula(seed: int, n: int, k: int, diversity: float) -> None:
    """Taken one by one, as Carbonell and Goldstein write it."""
    rng = np.random.default_rng(seed)
    found = [Hit(f"{place:02}", score) for place, score in enumerate(sorted(rng.normal(size=n).tolist(), reverse=True))]
    vectors = list(rng.normal(size=(n, 3)).astype(np.float32))

    chosen = diversified(found, vectors, k, diversity)

    units = [v.astype(np.float64) / np.linalg.norm(v.astype(np.float64)) for v in vectors]
    span = found[0].score - found[-1].score
    relevance = [(hit.score - found[-1].score) / span if span else 1.0 for hit in found]
    taken: list[int] = []
    while len(taken) < min(k, n):
        worth = {
            place: (1 - diversity) * relevance[place]
            - (diversity * max(float(units[place] @ units[other]) for other in taken) if taken else 0)
            for place in range(n)
            if place not in taken
        }
        taken.append(max(worth, key=lambda place: (worth[place], -place)))
    assert {hit.item_id for hit in chosen} == {found[place].item_id for place in taken}
    assert [hit.score for hit in chosen] == sorted((hit.score for hit in chosen), reverse=True)


@pytest.mark.parametrize(
    ("most", "left", "full"), [(1, "ade", "xy"), (2, "abde", "xy"), (3, "abcde", "x"), (None, "abcde", "")]
)
def test_caps_count_every_category_of_an_item(most: int | None, left: str, full: str) -> None:
    """A is x, b is x and y, c is x, d has none, e is y."""
    categories = {"a": ("x",), "b": ("x", "y"), "c": ("x",), "d": (), "e": ("y",)}
    cap = Cap(categories.__getitem__, most)

    refused = {item_id: cap.refuses(item_id) for item_id in "abcde" if not cap.takes(item_id)}

    assert [item_id for item_id in "abcde" if item_id not in refused] == list(left)
    assert all(refused.values())
    assert cap.full == set(full)
    assert cap.refuses("a") == bool(full)
    assert not cap.refuses("d")


def test_a_category_that_stands_twice_in_an_item_counts_once() -> None:
    """Two of them may stand where two are allowed."""
    cap = Cap(lambda _: ("z", "z"), 2)

    assert [cap.takes(item_id) for item_id in "abc"] == [True, True, False]
