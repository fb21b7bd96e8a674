"""How new items are to be placed, found by rehearsal: some known items play new from before training on.

Items whose clicks the encoder has learned from are placed better than new ones, so asking them would understate what
new ones need. The rehearsal therefore trains the preset once more without the training interactions of a fifth of the
known items, and looks at the validation part, in which these items are wanted like all others.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from training.calibration import gain_within_budget
from training.confidence import Confidence, agreement, calibrated_confidence, sampled
from training.evaluation import validated_items
from training.interactions import TRAIN
from training.masks import apply_mask
from training.models.contract import CalibratesConfidence, Embeddings, Model
from training.prepared import Prepared, prepare_codes
from training.splits import DROPPED

SHARE = 0.2
_HIDDEN = (0.0, 0.5)  # shares of the modalities that are hidden when confidence is calibrated
_SEED_OFFSET = 1000


class Rehearsed(NamedTuple):
    """What a rehearsal found.

    Attributes:
        gain: how far new items are pushed; None where it could not be found, as no item that played new was wanted.
        confidence: how far what is said of them is to be trusted; None where the model cannot be asked.
    """

    gain: float | None
    confidence: Confidence | None


def rehearse(prepared: Prepared, seed: int, train: Callable[[Prepared], Model], budget: float = 0.01) -> Rehearsed:
    """Trains without some items and looks at what becomes of them.

    Args:
        prepared: what the model to be calibrated was trained on.
        seed: draws the items that play new.
        train: trains a model of the same configuration on other data.
        budget: the share of recall@20 and of ndcg@20 that showing new items may cost.
    """
    rng = np.random.default_rng(seed + _SEED_OFFSET)
    stage = without_some_items(prepared, rng)
    model = train(stage)
    model.calibrate(1.0)
    new, judged = stage.data.popularity() == 0, validated_items(prepared.split)
    tables = model.embeddings()
    gain = gain_within_budget(tables, new, stage.split, judged, budget)
    if not isinstance(model, CalibratesConfidence):
        return Rehearsed(gain, None)
    return Rehearsed(gain, _confidence(prepared, stage, tables, model, rng))


def _confidence(
    prepared: Prepared, stage: Prepared, tables: Embeddings, model: CalibratesConfidence, rng: np.random.Generator
) -> Confidence | None:
    """Calibrated by the clicks that were hidden, with items as complete as they are and with modalities hidden."""
    popularity = stage.data.popularity()
    playing = np.flatnonzero((popularity == 0) & (prepared.data.popularity() > 0))
    users, chosen = sampled(prepared.split.train[:, playing], rng)
    items = playing[chosen]
    clicks = prepared.split.train[users][:, items]
    activity = np.diff(prepared.split.train.indptr)[users]
    shape = (stage.dataset.n_items, len(stage.data.features))
    distances, found, shown = [], [], []
    for rate in _HIDDEN:
        masked = apply_mask(stage.data.features, rng.random(shape) < rate)
        deviations = model.deviations(masked)[items]
        distances.append(np.linalg.norm(deviations, axis=1))
        found.append(agreement(tables.users[users], deviations, clicks, activity))
        shown.append(np.any([feature.present[items] for feature in masked.values()], axis=0))
    weights = np.tile(clicks.getnnz(axis=0), len(_HIDDEN))
    known = np.linalg.norm(tables.items[popularity > 0], axis=1).mean()
    told = np.concatenate(shown)  # of others it is known that nothing is known
    if not (told & (weights > 0)).any():
        return None
    return calibrated_confidence(
        np.concatenate(distances)[told], np.nan_to_num(np.concatenate(found))[told], weights[told], float(known)
    )


def without_some_items(prepared: Prepared, rng: np.random.Generator) -> Prepared:
    """The same data without the training interactions of a fifth of the items that have any; all else stays."""
    interactions = prepared.dataset.interactions
    known = np.unique(interactions.items[prepared.codes == TRAIN])
    playing_new = rng.choice(known, int(SHARE * len(known)), replace=False)
    dropped = (prepared.codes == TRAIN) & np.isin(interactions.items, playing_new)
    return prepare_codes(prepared.dataset, np.where(dropped, np.int8(DROPPED), prepared.codes))
