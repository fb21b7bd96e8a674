"""Judging a model by the tables that would be published."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from training.metrics import ranking_metrics
from training.models.contract import Embeddings
from training.splits import Split

KS = (10, 20, 50)
MOST_VALIDATED = 20_000
"""Users that a validation looks at, at most: the time it takes would else grow with users and items alike."""
_CHOICE_SEED = 19


def validation_recall(embeddings: Embeddings, split: Split) -> float:
    """Recall@20 on the validation part: the number that selects models, epochs and hyper-parameters.

    Only ``validated_items`` compete, for the users of ``validated_part``.
    """
    judged = validated_items(split)
    wanted = validated_part(split)
    result = ranking_metrics(embeddings.users, embeddings.items, wanted, split.train, (20,), judged)
    return result.mean()["recall@20"]


def validated_part(split: Split) -> csr_matrix:
    """The validation part as validations look at it: whole, or that of ``MOST_VALIDATED`` of its users.

    The standard error of a mean over so many is .0035 at worst. The choice is a fixed one: what two validations of the
    same data find differs by the models alone.

    Returns:
        (n_users, n_items) float32 CSR; rows of users who are passed over are empty.
    """
    users = np.flatnonzero(split.val.getnnz(axis=1))
    if len(users) <= MOST_VALIDATED:
        return split.val
    looked_at = np.zeros((split.val.shape[0], 1), np.float32)
    looked_at[np.random.default_rng(_CHOICE_SEED).choice(users, MOST_VALIDATED, replace=False)] = 1
    part = split.val.multiply(looked_at).tocsr()
    part.eliminate_zeros()
    return part


def validated_items(split: Split) -> NDArray[np.int64]:
    """Rows of the items with a training or validation interaction.

    Others stay out of validation's lists: nobody can want them there, so a model would be chosen for placing them
    badly.
    """
    return np.flatnonzero(split.train.getnnz(axis=0) + split.val.getnnz(axis=0))


def evaluate(
    embeddings: Embeddings, split: Split, new: NDArray[np.integer] | None = None
) -> dict[str, dict[str, Any] | None]:
    """Full-ranking metrics on the test part, overall and apart for warm and new items.

    Args:
        embeddings: what is judged.
        split: its test part is to be found, train positives are masked.
        new: rows of the items that count as new, as a protocol says; None = those without training interactions.

    Returns:
        ``all``: every test interaction; ``new`` and ``warm``: those on new items and on all others, ranked among all
        items; ``new_among_new``: the former ranked among new items only. None where there are none.
    """
    warm = split.train.getnnz(axis=0) > 0 if new is None else ~np.isin(np.arange(split.train.shape[1]), new)
    parts = {
        "all": (np.ones_like(warm), None),
        "warm": (warm, None),
        "new": (~warm, None),
        "new_among_new": (~warm, np.flatnonzero(~warm)),
    }
    report: dict[str, dict[str, Any] | None] = {}
    for name, (judged, candidates) in parts.items():
        held_out = split.test.multiply(judged.astype(np.float32)).tocsr()
        held_out.eliminate_zeros()
        result = ranking_metrics(embeddings.users, embeddings.items, held_out, split.train, KS, candidates)
        report[name] = result.mean() if len(result.users) else None
    return report
