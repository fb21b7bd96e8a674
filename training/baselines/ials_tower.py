"""iALS with a content tower: items that nobody has met get the factors that their content predicts.

A ridge regression maps content (unit rows per modality, zero where absent; which modalities are present; a constant) to
the item factors of iALS, fitted on the items with interactions and their own features. Predicted factors are shrunk and
would never surface; each user's scores of new items are therefore standardised to mean and spread of the user's scores
of the others. With means m and covariances S of either group's factors,

``s̃_ui = ⟨w_u, m_warm⟩ + r_u ⟨w_u, h_i - m_new⟩``,  ``r_u² = w_uᵀ S_warm w_u / w_uᵀ S_new w_u``

is the inner product of ``(w_u, r_u w_u)`` with ``(h_i, 0)`` for known and ``(m_warm, h_i - m_new)`` for new items:
d = 2 · 64.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.baselines import ials
from training.baselines.content import presence, unit_blocks
from training.baselines.selection import Validate
from training.features import ModalityFeatures
from training.models.contract import Embeddings, TrainingData

RIDGES = (0.1, 0.01, 0.03, 0.3, 1.0, 10.0)
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class IALSTower:
    """iALS, and the map from content to its item factors.

    Attributes:
        data: what it was fitted on.
        base: the factors; zero for new items.
        mapping: (n_inputs, d) float32.
    """

    data: TrainingData
    base: ials.IALS
    mapping: NDArray[np.float32]

    def embeddings(self, features: Mapping[str, ModalityFeatures] | None = None) -> Embeddings:
        """The factors, extended by the standardisation; see ``Recommender.embeddings``."""
        items, new = self._predicted(features or self.data.features)
        rows = np.concatenate([items, np.zeros_like(items)], axis=1)
        if new.any() and not new.all():
            center = np.broadcast_to(items[~new].mean(axis=0), items[new].shape)
            rows[new] = np.concatenate([center, items[new] - items[new].mean(axis=0)], axis=1)
        return Embeddings(self._extend(self.base.users, items, new), rows, None)

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """The users' half-step of iALS, extended, (n, 2 d)."""
        return self._extend(self.base.fold_in(indptr, indices), *self._predicted(self.data.features))

    def _predicted(self, features: Mapping[str, ModalityFeatures]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Item factors, those of new items by the tower, and which items are new."""
        new = self.data.popularity() == 0
        return np.where(new[:, None], _inputs(features) @ self.mapping, self.base.items), new

    def _extend(
        self, users: NDArray[np.float32], items: NDArray[np.float32], new: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """(w_u, r_u w_u); r_u = 0 where a group is too small to have a spread."""
        ratio = np.sqrt(_spread(users, items[~new]) / np.maximum(_spread(users, items[new]), _TINY))
        return np.concatenate([users, ratio[:, None] * users], axis=1)


def fit(data: TrainingData, validate: Validate, seed: int) -> IALSTower:
    """Fits iALS, which chooses by ``validate``, then the tower, which chooses its λ among ``RIDGES``.

    New items cannot be validated. Instead all known ones are ranked as if new, each placed by the tower without it.
    """
    base = ials.fit(data, validate, seed)
    warm = data.popularity() > 0
    inputs = _inputs(data.features)[warm]

    def as_if_new(ridge: float) -> float:
        items = base.items.copy()
        items[warm] = leave_one_out(inputs, base.items[warm], ridge)
        return validate(Embeddings(base.users, items, None))

    return IALSTower(data, base, ridge_regression(inputs, base.items[warm], max(RIDGES, key=as_if_new)))


def ridge_regression(x: NDArray[np.float32], y: NDArray[np.float32], ridge: float) -> NDArray[np.float32]:
    """``(XᵀX + λI)⁻¹ XᵀY``, (p, d), for (n, p) and (n, d)."""
    wide = x.astype(np.float64)
    return np.asarray(np.linalg.solve(wide.T @ wide + ridge * np.eye(x.shape[1]), wide.T @ y), dtype=np.float32)


def leave_one_out(x: NDArray[np.float32], y: NDArray[np.float32], ridge: float) -> NDArray[np.float32]:
    """Each row of y as the regression without that row predicts it, (n, d), in closed form.

    With the hat matrix ``A = X (XᵀX + λI)⁻¹ Xᵀ`` that is ``y_i - (y - Ay)_i / (1 - A_ii)``.
    """
    wide = x.astype(np.float64)
    solved = np.linalg.solve(wide.T @ wide + ridge * np.eye(x.shape[1]), wide.T)
    leverage = np.einsum("np,pn->n", wide, solved)[:, None]
    return np.asarray(y - (y - wide @ (solved @ y)) / (1 - leverage), dtype=np.float32)


def _inputs(features: Mapping[str, ModalityFeatures]) -> NDArray[np.float32]:
    blocks, present = unit_blocks(features), presence(features)
    return np.concatenate([blocks, present, np.ones((len(blocks), 1), np.float32)], axis=1)


def _spread(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
    """The variance of each user's scores of some items, (n,)."""
    if not len(items):
        return np.zeros(len(users), np.float32)
    centred = items - items.mean(axis=0)
    return np.asarray(np.einsum("nd,de,ne->n", users, centred.T @ centred / len(items), users, optimize=True))
