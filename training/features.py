"""Features of one modality, with the knowledge of which items have them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_store.files import NO_ARRAY
from training.errors import DatasetError

LARGEST = 1e15
"""A feature beyond that is refused: models add squares."""
_ROUNDING = 1e-6  # of a column's largest number: what varies less is rounding
_STEP = 2.0**-24  # float16's smallest, in which features may be kept: what varies less is rounding, too


@dataclass(frozen=True, slots=True)
class ModalityFeatures:
    """One modality of all items.

    Attributes:
        matrix: (n_items, d_m) float32, finite; zero rows where the modality is absent.
        present: (n_items,) bool, which items have the modality.
    """

    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]

    @classmethod
    def from_nan(cls, matrix: NDArray[np.floating[Any]]) -> "ModalityFeatures":
        """Reads (n_items, d_m) floats in which a row of NaN means absent; the input is left as it is."""
        present = ~np.isnan(matrix).all(axis=1)
        return cls(np.where(present[:, None], matrix, 0).astype(np.float32, copy=False), present)

    @property
    def dim(self) -> int:
        """d_m, the number of columns."""
        return int(self.matrix.shape[1])

    def with_nan(self) -> NDArray[np.float32]:
        """A copy of the matrix with rows of NaN where the modality is absent: the form on disk and in bundles."""
        matrix = self.matrix.copy()
        matrix[~self.present] = np.nan
        return matrix

    def masked(self, keep: NDArray[np.bool_]) -> "ModalityFeatures":
        """The same features, absent also where ``keep`` (n_items,) bool is False."""
        present = self.present & keep
        return ModalityFeatures(np.where(present[:, None], self.matrix, np.float32(0)), present)


def varying(rows: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which columns of (n, d_m) vary by more than rounding does, (d_m,) bool; none without rows."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.bool_)
    largest = np.maximum(np.abs(rows.min(axis=0)), np.abs(rows.max(axis=0)))
    deviation: NDArray[np.float64] = rows.std(axis=0, dtype=np.float64)
    return np.asarray(deviation > np.maximum(_ROUNDING * largest, _STEP))


def read_features(path: Path) -> ModalityFeatures:
    """Reads a ``features_<modality>.npy``.

    Raises:
        DatasetError: the file is no (n, d_m) float16 or float32 array, a row of it is neither finite nor all NaN, or
            holds what no model could compute with.
    """
    try:
        with path.open("rb") as file:
            array: Any = np.load(file, allow_pickle=False)
    except NO_ARRAY as exc:
        raise DatasetError(path, "an .npy array without pickled objects", f"an unreadable file ({exc})") from exc
    if not isinstance(array, np.ndarray):
        raise DatasetError(path, "one .npy array", "an .npz archive")
    if array.dtype.type not in (np.float16, np.float32) or array.ndim != 2 or not array.shape[1]:  # noqa: PLR2004
        raise DatasetError(path, "float16 or float32 of shape (n_items, d_m)", f"{array.dtype} of shape {array.shape}")
    _check_rows(path, array)
    ends = (find.reduce(array, axis=None, initial=0) for find in (np.fmin, np.fmax))  # which pass over NaN
    if max(abs(float(end)) for end in ends) > LARGEST:
        raise DatasetError(path, f"numbers of at most {LARGEST:g}, whose squares can be added", "larger ones")
    return ModalityFeatures.from_nan(array)


def _check_rows(path: Path, array: NDArray[np.floating[Any]]) -> None:
    width = array.shape[1]
    finite = np.isfinite(array).sum(axis=1)
    nan = np.isnan(array).sum(axis=1)
    sound = (finite == width) | (nan == width)
    if not sound.all():
        row = int(np.argmin(sound))
        inf = width - int(finite[row]) - int(nan[row])
        found = f"{nan[row]} NaN and {inf} infinite of {width} values in row {row} (counted from 0)"
        raise DatasetError(path, "rows all finite or, where the modality is missing, all NaN", found)
