"""The gain of new items."""

import weakref
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from training import calibration, evaluation
from training.calibration import GAINS, gain_within_budget, new_item_gain
from training.models.contract import Embeddings
from training.splits import Split


def test_gain_is_the_ratio_of_mean_norms_of_warm_items() -> None:
    """Warm items 0 and 1: norms 5 and 1 as trained, mean 3; 1 and 0.5 as new, mean 0.75. The gain is 4.

    Item 2 is new, and however large its row, it says nothing.
    """
    items = np.array([[3, 4], [0, 1], [900, 0]], np.float32)
    as_new = np.array([[0, 1], [0.3, 0.4], [900, 0]], np.float32)

    gain = new_item_gain(items, as_new, np.array([True, True, False]))

    assert gain == pytest.approx(4)


def test_gain_gives_new_items_the_norm_of_warm_ones() -> None:
    """Applied to the warm items seen as new, it makes their mean norm that of the trained table."""
    rng = np.random.default_rng(0)
    items, as_new = rng.normal(size=(2, 50, 8)).astype(np.float32)
    warm = rng.random(50) < 0.5

    scaled = new_item_gain(items, as_new, warm) * as_new[warm]

    assert np.linalg.norm(scaled, axis=1).mean() == pytest.approx(np.linalg.norm(items[warm], axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("zero", ["items", "as_new"])
def test_gain_of_a_table_of_zeros_is_one(zero: str) -> None:
    """Where there is nothing to compare, nothing is scaled: no division by zero, no row of zeros."""
    tables = {"items": np.ones((3, 2), np.float32), "as_new": np.ones((3, 2), np.float32)}
    tables[zero] *= 0

    assert new_item_gain(**tables, warm=np.ones(3, bool)) == 1


def gain_of_a_harmless_item(n: int) -> float | None:
    """The gain where each of n users finds the item of its own, and nobody ever wants the one new item."""
    users, items = np.eye(n, dtype=np.float32), np.eye(n + 1, n, dtype=np.float32)
    items[n] = 0.01
    wanted = csr_matrix(np.eye(n, n + 1, dtype=np.float32))
    nothing = csr_matrix(wanted.shape, dtype=np.float32)
    split, new = Split(nothing, wanted, nothing), np.arange(n + 1) == n
    return gain_within_budget(Embeddings(users, items, None), new, split, np.arange(n + 1), 0.01)


@pytest.mark.parametrize(("n", "gain"), [(10, 1.0), (29, 1.0), (30, GAINS[-1]), (100, GAINS[-1])])
def test_gain_is_not_chosen_by_a_handful_of_finds(n: int, gain: float) -> None:
    """A new item that costs nothing may be pushed as far as can be, but not where chance alone may say so."""
    assert gain_of_a_harmless_item(n) == gain


def test_gain_looks_at_no_more_users_than_a_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """29 of 100: too few finds for anything but 1."""
    monkeypatch.setattr(evaluation, "MOST_VALIDATED", 29)

    assert gain_of_a_harmless_item(100) == 1


def test_gains_are_tried_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hits of all gains at once would be gigabytes: each is gone by the time of the next but one."""
    made: list[weakref.ref[Any]] = []
    hits = calibration._hits

    def watched(*arguments: Any) -> Any:
        assert sum(each() is not None for each in made) <= 1
        found = hits(*arguments)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(calibration, "_hits", watched)

    assert gain_of_a_harmless_item(100) == GAINS[-1]
    assert len(made) == len(GAINS)
