"""Missing patterns."""

from itertools import pairwise

import numpy as np
import pytest

from training.features import ModalityFeatures
from training.masks import apply_mask, static_mask


def test_static_mask_is_that_of_the_protocol() -> None:
    """Generator 7, one draw per (item, modality), missing where below the rate."""
    mask = static_mask(100, ["text", "audio"], 0.3)

    np.testing.assert_array_equal(mask, np.random.default_rng(7).random((100, 2)) < 0.3)


def test_static_masks_of_growing_rates_are_nested() -> None:
    """What is missing at a low rate is missing at each higher one."""
    masks = [static_mask(200, "abc", rate) for rate in (0, 0.1, 0.5, 0.9, 1)]

    for lower, higher in pairwise(masks):
        assert not (lower & ~higher).any()
    assert not masks[0].any()
    assert masks[-1].all()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rate_that_is_no_probability_is_refused(rate: float) -> None:
    """A rate lies between 0 and 1."""
    with pytest.raises(ValueError, match="expected a rate"):
        static_mask(3, ["text"], rate)


def test_mask_hides_columns_in_alphabetical_order() -> None:
    """Column 0 is audio although text was put in first; what was absent before stays absent; the input is untouched."""
    text = ModalityFeatures(np.array([[1], [2], [0]], np.float32), np.array([True, True, False]))
    audio = ModalityFeatures(np.array([[3], [4], [5]], np.float32), np.array([True, True, True]))
    missing = np.array([[True, False], [False, True], [False, False]])

    masked = apply_mask({"text": text, "audio": audio}, missing)

    assert list(masked) == ["audio", "text"]
    assert masked["audio"].present.tolist() == [False, True, True]
    assert masked["audio"].matrix.tolist() == [[0], [4], [5]]
    assert masked["text"].present.tolist() == [True, False, False]
    assert text.present.tolist() == [True, True, False]


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (3,)])
def test_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """A mask is never broadcast."""
    features = ModalityFeatures(np.ones((3, 1), np.float32), np.ones(3, np.bool_))

    with pytest.raises(ValueError, match=r"expected a mask of shape \(3, 2\)"):
        apply_mask({"a": features, "b": features}, np.zeros(shape, np.bool_))
