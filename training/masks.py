"""Missing patterns: which modality of which item is taken away."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from training.features import ModalityFeatures

_STATIC_SEED = 7


def static_mask(n_items: int, modalities: Collection[str], rate: float) -> NDArray[np.bool_]:
    """The ``static`` pattern: each (item, modality) is missing with probability ``rate``, independently.

    Returns:
        (n_items, n_modalities) bool, True = missing; columns are the modalities in alphabetical order.

    Raises:
        ValueError: ``rate`` is no probability.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"expected a rate of 0 to 1, found {rate}")
    return np.random.default_rng(_STATIC_SEED).random((n_items, len(modalities))) < rate


def apply_mask(features: Mapping[str, ModalityFeatures], missing: NDArray[np.bool_]) -> dict[str, ModalityFeatures]:
    """The features without what ``missing`` (n_items, n_modalities) bool takes away; what was absent stays so.

    Raises:
        ValueError: the mask has another shape than the features.
    """
    names = sorted(features)
    shape = (len(features[names[0]].present) if names else 0, len(names))
    if missing.shape != shape:
        raise ValueError(f"expected a mask of shape {shape}, found {missing.shape}")
    return {name: features[name].masked(~missing[:, column]) for column, name in enumerate(names)}
