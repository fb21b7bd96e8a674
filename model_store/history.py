"""Fold-in rules: how a user is encoded from the items of a history."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """How a user is encoded from the items of a history.

    ``u = |H|^-alpha · Σ_{i in H} h_i`` with ``h_i`` the rows of ``history_embeddings.npy`` and H the ``max_items``
    latest distinct items of the history.

    Raises:
        ValueError: ``alpha`` is not finite, or ``max_items`` is below 1.
    """

    alpha: float = 0.5
    max_items: int = 1000

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha: expected a finite number, found {self.alpha!r}")
        _check_max_items(self.max_items)

    def encode(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Folds history rows (n, d), oldest first, into one user vector (d,) float32; no rows give the zero vector."""
        kept = rows[-self.max_items :]
        scale = max(len(kept), 1) ** -self.alpha
        return np.asarray(kept.sum(axis=0, dtype=np.float64) * scale, dtype=np.float32)

    def parts(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """What each of at most ``max_items`` rows gives to the user vector, (n, d) float32; they add up to it."""
        return np.asarray(rows * max(len(rows), 1) ** -self.alpha, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class LeastSquaresRule:
    """How a user is encoded from the items of a history: by the regression that scores them 1 and all others 0.

    ``u = (diag(g + r·|H|) + Σ_{i in H} h_i h_iᵀ)⁻¹ Σ_{i in H} h_i`` with ``h_i`` the rows of
    ``history_embeddings.npy`` and H the ``max_items`` latest distinct items of the history (Hu, Koren & Volinsky 2008).
    What all users share, the items that nobody of H has, is diagonal: the tables are published in its eigenvectors.

    Attributes:
        diagonal: g, (d,) positive numbers.
        ridge: r, regularisation for each item of the history.
        max_items: bounds the history.

    Raises:
        ValueError: a number out of its range.
    """

    diagonal: tuple[float, ...]
    ridge: float = 0.0
    max_items: int = 1000

    def __post_init__(self) -> None:
        if not self.diagonal or not all(0 < value < math.inf for value in self.diagonal):
            raise ValueError("diagonal: expected finite numbers above 0")
        if not (math.isfinite(self.ridge) and self.ridge >= 0):
            raise ValueError(f"ridge: expected a finite number of at least 0, found {self.ridge!r}")
        _check_max_items(self.max_items)

    def encode(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Folds history rows (n, d), oldest first, into one user vector (d,) float32; no rows give the zero vector.

        The smaller of two systems is solved: of d unknowns, or of as many as there are rows.
        """
        kept = np.asarray(rows[-self.max_items :], dtype=np.float64)
        diagonal = np.asarray(self.diagonal) + self.ridge * len(kept)
        if len(kept) < len(diagonal):
            scaled = kept / diagonal
            shares = np.linalg.solve(scaled @ kept.T + np.eye(len(kept)), np.ones(len(kept)))
            return np.asarray(shares @ scaled, dtype=np.float32)
        return np.asarray(np.linalg.solve(np.diag(diagonal) + kept.T @ kept, kept.sum(axis=0)), dtype=np.float32)

    def parts(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """What each of at most ``max_items`` rows (n, d) gives to the user vector, (n, d) float32: they add up to it.

        As ``(D + HᵀH) u = Hᵀ1``, ``u = D⁻¹ Σ (1 - ⟨h_i, u⟩) h_i``: an item counts for what the others leave unsaid.
        """
        exact = np.asarray(rows, dtype=np.float64)
        diagonal = np.asarray(self.diagonal) + self.ridge * len(exact)
        unsaid = 1 - exact @ self.encode(rows).astype(np.float64)
        return np.asarray(unsaid[:, None] * exact / diagonal, dtype=np.float32)


FoldInRule = HistoryRule | LeastSquaresRule


def parse_rule(facts: Mapping[str, Any]) -> FoldInRule:
    """The rule whose fields these are.

    Raises:
        TypeError: a field is missing, unknown or of another type.
        ValueError: a number out of its range.
    """
    try:
        if "diagonal" in facts:
            return LeastSquaresRule(**{**facts, "diagonal": tuple(float(value) for value in facts["diagonal"])})
        return HistoryRule(**facts)
    except OverflowError as exc:  # JSON knows integers that are no float
        raise ValueError(f"history: {exc}") from exc


def _check_max_items(value: object) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"max_items: expected an integer of at least 1, found {value!r}")
