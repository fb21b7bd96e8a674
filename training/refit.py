"""The model that is published: what validation chose, trained once more with the interactions that chose it.

The latest interactions judge a model, and they are those of the newest items. Without them such an item would be taken
for one that nobody has clicked yet, and placed by its content alone.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from training.fitting import Trained, calibrate, device_of
from training.interactions import TEST, TRAIN, VAL
from training.loop import Progress, train
from training.models import PRESETS, REHEARSED
from training.prepared import Prepared, prepare_codes
from training.rehearsal import Rehearsed


def holds_back(prepared: Prepared) -> bool:
    """Whether there are interactions that a model was not trained with, as they judge it."""
    return bool(np.isin(prepared.codes, (VAL, TEST)).any())


def refit(prepared: Prepared, trained: Trained, report: Callable[[Progress], None]) -> Trained | None:
    """Trains a preset with all interactions, as long as was best when some were held back.

    How far new items are pushed, and how far what is said of them is to be trusted, stay as the rehearsal found them;
    without one the push follows from the new tables.

    Args:
        prepared: the data, and which of it was held back.
        trained: the model without what was held back.
        report: called after each epoch.

    Returns:
        The model; None where Ctrl-C ended it.

    Raises:
        Diverged: the loss is no longer finite.
    """
    config, outcome = trained.config, trained.outcome
    codes = np.where(np.isin(prepared.codes, (VAL, TEST)), np.int8(TRAIN), prepared.codes)
    everything = prepare_codes(prepared.dataset, codes)
    try:
        model = PRESETS[config.preset](everything.data, config, device_of(config))
        ended = train(model, everything.split, config, report, until=outcome.best_epoch).ended
    except KeyboardInterrupt:
        return None
    if ended == "interrupted":
        return None
    found = Rehearsed(outcome.new_item_gain if config.preset in REHEARSED else None, outcome.confidence)
    gain = calibrate(model, everything.data, found)
    return Trained(model, config, replace(outcome, new_item_gain=gain), everything.data)
