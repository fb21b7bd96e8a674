"""Whether one model is better than another, or only luckier with its users."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_SEED = 17
_BLOCK_CELLS = 1 << 22  # bounds the draws held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of means and the interval that holds it in so many of the resamples.

    Attributes:
        difference: mean of one minus mean of the other.
        low, high: percentiles of the resampled differences.
    """

    difference: float
    low: float
    high: float


def paired_bootstrap(
    one: NDArray[np.float64], other: NDArray[np.float64], resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Bootstraps the mean difference of two models over the users both were judged on.

    Users are drawn with replacement, each with both its values: what makes a user hard for both models cancels. The
    draws come from ``np.random.default_rng(17)``, so that the same numbers give the same interval.

    Args:
        one: (m,) values of users, one model's.
        other: (m,) the other's, of the same users in the same order.
        resamples: number of resamples.
        level: share of the resamples inside the interval.

    Raises:
        ValueError: the shapes differ, or there is no user.
    """
    if one.shape != other.shape or one.ndim != 1 or not len(one):
        raise ValueError(f"expected two arrays of one shape (m,), m > 0, found {one.shape} and {other.shape}")
    differences = one.astype(np.float64) - other
    rng = np.random.default_rng(_SEED)
    n = len(differences)
    means = np.empty(resamples)
    step = max(1, _BLOCK_CELLS // n)
    for start in range(0, resamples, step):
        draws = rng.integers(0, n, (min(step, resamples - start), n), dtype=np.int32)
        means[start : start + step] = differences[draws].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(differences.mean()), float(low), float(high))
