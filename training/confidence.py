"""How sure a model is of where it places a new item, calibrated against who then wanted it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

SCALES = tuple(float(scale) for scale in np.geomspace(0.02, 3, 80))
_MOST_USERS, _MOST_ITEMS = 20_000, 1_000  # what is looked at; more would not be known better, only later


@dataclass(frozen=True, slots=True)
class Confidence:
    """``confidence = ceiling · (1 - exp(-(‖z - z₀‖ / scale)²))`` of a code z, z₀ being that of an unknown item.

    A code moves away from z₀ as far as the modalities present are informative, which a precision learned with the code
    does not tell (docs/decisions/0005-how-new-items-surface.md).

    Attributes:
        scale: distance at which 63 % of the ceiling is reached.
        ceiling: the most that is ever promised, from 0 to 1.
    """

    scale: float
    ceiling: float


def calibrated_confidence(
    distances: NDArray[np.floating], found: NDArray[np.float64], weights: NDArray[np.floating], unit: float
) -> Confidence:
    """The curve that agrees best with what was found, by weighted least squares.

    Args:
        distances: (n,) ‖z - z₀‖.
        found: (n,) ``agreement`` of the same items.
        weights: (n,) how much each is known.
        unit: a length that scales are tried in, that of a known item's row.
    """
    fits = [(scale * unit, _rise(distances, scale * unit)) for scale in SCALES]
    ceilings = [np.clip((weights * f * found).sum() / max((weights * f * f).sum(), 1e-12), 0, 1) for _, f in fits]
    errors = [(weights * (c * f - found) ** 2).sum() for c, (_, f) in zip(ceilings, fits, strict=True)]
    best = int(np.argmin(errors))
    return Confidence(fits[best][0], float(ceilings[best]))


def agreement(
    users: NDArray[np.float32], codes: NDArray[np.float32], clicks: csr_matrix, activity: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Whether the users who did click an item stand before others in its scores: ``2 AUC - 1``, (n_items,).

    The others count by their activity, so that scoring whoever clicks on everything is no merit. NaN without a click.

    Args:
        users: (n_users, d).
        codes: (n_items, d).
        clicks: (n_users, n_items), nonzero = clicked.
        activity: (n_users,) clicks of each user on anything.
    """
    by_item = csr_matrix(clicks.T)
    found = np.full(len(codes), np.nan)
    for item in np.flatnonzero(np.diff(by_item.indptr)):
        fans = by_item.indices[by_item.indptr[item] : by_item.indptr[item + 1]]
        found[item] = _separation(users @ codes[item], fans, activity)
    return found


def sampled(clicks: csr_matrix, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of users and columns of clicked items that are enough to calibrate by."""
    items = np.flatnonzero(clicks.getnnz(axis=0))
    users = np.arange(clicks.shape[0])
    if len(items) > _MOST_ITEMS:
        items = np.sort(rng.choice(items, _MOST_ITEMS, replace=False))
    if len(users) > _MOST_USERS:
        users = np.sort(rng.choice(users, _MOST_USERS, replace=False))
    return users, items


def _separation(scores: NDArray[np.floating], fans: NDArray[np.integer], activity: NDArray[np.integer]) -> float:
    others = activity.astype(np.float64)
    others[fans] = 0
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    below = np.concatenate([[0.0], np.cumsum(others[order])])
    left, right = (np.searchsorted(ranked, scores[fans], side=side) for side in ("left", "right"))
    if not below[-1]:
        return 0.0
    return float(((below[left] + below[right]) / below[-1]).mean() - 1)  # ties count half


def _rise(distances: NDArray[np.floating], scale: float) -> NDArray[np.float64]:
    return np.asarray(1 - np.exp(-np.square(distances.astype(np.float64) / scale)))
