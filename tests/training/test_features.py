"""What becomes of feature columns, whatever unit they are in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.content import standardisation
from training.features import ModalityFeatures, varying

N_ITEMS = 50


@settings(deadline=None)  # the first call takes its time
@given(exponent=st.integers(-6, 14), seed=st.integers(0, 99))
def test_unit_of_a_column_does_not_matter(exponent: int, seed: int) -> None:
    """Microns or light years: standardised it is the same, beside a column that stays."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(N_ITEMS, 2)).astype(np.float32)
    other = rows * np.array([10.0**exponent, 1], np.float32)
    everything = np.ones(N_ITEMS, np.bool_)

    one, same = (
        (torch.from_numpy(matrix) - center) / scale
        for matrix in (rows, other)
        for center, scale in [standardisation(ModalityFeatures(matrix, everything), everything)]
    )

    torch.testing.assert_close(same, one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1e-35, 1e-9, 0.1, -7.3, 1e6, 1e15])
def test_constant_column_keeps_its_scale(value: float) -> None:
    """Also where the rounding of its mean makes it deviate, and where a few items have its next neighbour."""
    rows = np.full((N_ITEMS, 1), value, np.float32)
    rows[:3] = np.nextafter(rows[:3], np.float32(np.inf))

    _, scale = standardisation(ModalityFeatures(rows, np.ones(N_ITEMS, np.bool_)), np.ones(N_ITEMS, np.bool_))

    assert not varying(rows).any()
    assert scale.tolist() == [1]


def test_small_differences_of_large_numbers_are_told_from_rounding() -> None:
    """Days in seconds since 1970 vary, a second here and there does not."""
    days, seconds = 1.6e9 + 86_400 * np.arange(N_ITEMS), 1.6e9 + np.arange(N_ITEMS) % 2

    assert varying(np.stack([days, seconds], axis=1).astype(np.float32)).tolist() == [True, False]


def test_steps_of_float16_are_rounding() -> None:
    """A zero that some items have as float16's smallest number is a zero; ten times as much is a feature."""
    rows = np.zeros((N_ITEMS, 2), np.float16)
    rows[::2] = np.finfo(np.float16).smallest_subnormal * np.array([-1, 10], np.float16)

    assert varying(rows.astype(np.float32)).tolist() == [False, True]


def test_without_rows_nothing_varies() -> None:
    """Where no training item has the modality."""
    assert varying(np.zeros((0, 2), np.float32)).tolist() == [False, False]
