"""Equations without a solution are said to be so."""

import numpy as np
import pytest

from training.errors import NotFinite
from training.solvable import solved


def test_solution_is_returned() -> None:
    """As it is."""
    assert solved(lambda: np.linalg.inv(np.diag([2.0, 4.0])), "factors", "a larger one").tolist() == [
        [0.5, 0],
        [0, 0.25],
    ]


def test_what_has_none_says_what_to_change() -> None:
    """Singular, or beyond the largest number."""
    for solve in (lambda: np.linalg.inv(np.zeros((2, 2))), lambda: np.ones(2) / np.zeros(2)):
        with pytest.raises(NotFinite, match=r"^factors: expected finite numbers, .*; try a larger one$") as caught:
            solved(solve, "factors", "a larger one")

        assert (caught.value.what, caught.value.advice) == ("factors", "a larger one")
