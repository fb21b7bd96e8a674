"""How far new items are pushed: one number."""

import numpy as np
from numpy.typing import NDArray


def new_item_gain(items: NDArray[np.float32], as_new: NDArray[np.float32], warm: NDArray[np.bool_]) -> float:
    """The factor that gives items placed from content alone the norm of items placed from content and clicks.

    Softmax training answers uncertainty with short vectors: without the factor hardly any new item surfaces beside the
    warm ones. It is read off warm items, seen once as they are and once as if they were new.

    Args:
        items: (n_items, d) float32, the trained table.
        as_new: (n_items, d) float32, the same items as the encoder alone places them, gain 1.
        warm: (n_items,) bool, items with training interactions.

    Returns:
        The ratio of mean norms; 1 where either is zero.
    """
    known, content = (float(np.linalg.norm(table[warm], axis=1).mean()) for table in (items, as_new))
    return known / content if known and content else 1.0
