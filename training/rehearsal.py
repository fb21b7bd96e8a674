"""How far new items are pushed, found by rehearsal: some known items play new from before training on.

Items whose clicks the encoder has learned from are placed better than new ones, so asking them would understate what
new ones need. The rehearsal therefore trains the preset once more without the training interactions of a fifth of the
known items, and looks at the validation part, in which these items are wanted like all others.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.evaluation import validated_items
from training.interactions import TRAIN
from training.metrics import ranking_metrics
from training.models.contract import Embeddings, Model
from training.prepared import Prepared, prepare_codes
from training.splits import DROPPED, Split

SHARE = 0.2
GAINS = tuple(float(gain) for gain in np.round(np.geomspace(0.5, 4, 31), 3))
_SEED_OFFSET = 1000


def rehearsed_gain(prepared: Prepared, seed: int, train: Callable[[Prepared], Model], budget: float = 0.01) -> float:
    """The largest gain of ``GAINS`` that costs at most ``budget`` of the best recall@20 and of the best ndcg@20.

    Both are those of the validation part over all items. Recall alone would let new items crowd the top of the lists.

    Args:
        prepared: what the model to be calibrated was trained on.
        seed: draws the items that play new.
        train: trains a model of the same configuration on other data.
        budget: the share of either metric that showing new items may cost.
    """
    stage = without_some_items(prepared, np.random.default_rng(seed + _SEED_OFFSET))
    model = train(stage)
    model.calibrate(1.0)
    tables = model.embeddings()
    new = stage.data.popularity() == 0
    judged = validated_items(prepared.split)
    scores = np.array([_scores(tables, new, gain, stage.split, judged) for gain in GAINS])
    if not scores.max(axis=0).all():  # nobody finds anything: there is nothing to choose by
        return 1.0
    enough = (scores >= (1 - budget) * scores.max(axis=0)).all(axis=1)
    # There may be no gain that serves both: then the one whose worse share of its best is best.
    shares = (scores / scores.max(axis=0)).min(axis=1)
    chosen = np.flatnonzero(enough)[-1] if enough.any() else shares.argmax()
    return GAINS[int(chosen)]


def without_some_items(prepared: Prepared, rng: np.random.Generator) -> Prepared:
    """The same data without the training interactions of a fifth of the items that have any; all else stays."""
    interactions = prepared.dataset.interactions
    known = np.unique(interactions.items[prepared.codes == TRAIN])
    playing_new = rng.choice(known, int(SHARE * len(known)), replace=False)
    dropped = (prepared.codes == TRAIN) & np.isin(interactions.items, playing_new)
    return prepare_codes(prepared.dataset, np.where(dropped, np.int8(DROPPED), prepared.codes))


def _scores(
    tables: Embeddings, new: NDArray[np.bool_], gain: float, split: Split, judged: NDArray[np.int64]
) -> tuple[float, float]:
    items = tables.items * np.where(new, gain, 1)[:, None].astype(np.float32)
    means = ranking_metrics(tables.users, items, split.val, split.train, (20,), judged).mean()
    return means["recall@20"], means["ndcg@20"]
