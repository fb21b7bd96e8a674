"""The configuration of a training run: flags in, saved in the manifest."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from training.errors import ConfigError

_SCHEDULE = ("epochs", "patience", "evaluate_every", "batch_pairs")
_COUNTS = (*_SCHEDULE, "batch_items", "d", "hidden", "max_history", "sweeps")
_REGULARISERS = ("kl_weight", "free_bits", "environment_weight", "invariance_weight")
_WEIGHTS = (*_REGULARISERS, "mixup")
# Beyond these, systems of equations have no solution in floating point, or say nothing.
_UNOBSERVED, _RIDGE = (1e-6, 1e6), (1e-9, 1e9)
_STEEPEST = 4
# Fields, what is expected of them, and whether a value is that; NaN never is.
_RULES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("seed",), "an integer from 0 to 2^63 - 1", lambda value: 0 <= value < 2**63),  # what torch's generators take
    (_COUNTS, "at least 1", lambda value: value >= 1),
    (
        ("content_weight", "missing_rate", "warmup", "new_item_evenness", "new_item_budget"),
        "a share from 0 to 1",
        lambda value: 0 <= value <= 1,
    ),
    (("dropout",), "a share from 0 to below 1", lambda value: 0 <= value < 1),  # what is kept is scaled up
    (_WEIGHTS, "a finite number of at least 0", lambda value: 0 <= value < math.inf),
    (("lr",), "a finite number above 0", lambda value: 0 < value < math.inf),
    (("popularity_exponent",), f"a number from 0 to {_STEEPEST}", lambda value: 0 <= value <= _STEEPEST),
    (("unobserved",), "0 or a number from 1e-6 to 1e6", lambda value: value == 0 or _within(value, _UNOBSERVED)),
    (("ridge",), "0 or a number from 1e-9 to 1e9", lambda value: value == 0 or _within(value, _RIDGE)),
    (("content_ridge",), "a number from 1e-9 to 1e9", lambda value: _within(value, _RIDGE)),
    (("penalty",), "variance or gradient", lambda value: value in {"variance", "gradient"}),
    (("device",), "auto, cpu or cuda", lambda value: value in {"auto", "cpu", "cuda"}),
)


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that shapes a run besides the data.

    The defaults are those of the default preset; ``training.models.configure`` knows where others differ.

    Attributes:
        preset: name of the model, a key of ``training.models.PRESETS``.
        seed: of every random choice.
        epochs: upper bound; early stopping may end sooner.
        patience: epochs of lower validation recall@20 after which training stops.
        evaluate_every: epochs between validations.
        batch_items: items per step where a model learns from items; at most an eighth of them.
        batch_pairs: interactions per step where a model learns from pairs of items; at most an eighth of all.
        lr: Adam's step size.
        d: embedding size.
        hidden: width of each modality's expert network.
        dropout: of the features and hidden units of the experts.
        unobserved: what all items that a user has not touched weigh together, an interaction weighing 1; 0 = chosen by
            validation (``training.selection``).
        ridge: regularisation of users and items, for each of their interactions and each unit of ``unobserved``; 0 = so
            that its product with ``unobserved`` is 2.45.
        popularity_exponent: by which power of its popularity an item is regularised more.
        sweeps: alternations between users and items.
        content_weight: share of what content predicts of an item that is the prior of its factor.
        content_ridge: regularisation of the linear prediction.
        missing_rate: mean probability that a present modality is hidden in a step.
        max_history: latest items of a history that encode a user.
        kl_weight: final weight of the bottleneck's KL term, per dimension.
        free_bits: nats per dimension that the KL term leaves alone.
        environment_weight: weight of the mean risk over the environments.
        invariance_weight: final weight of the penalty on their differences.
        penalty: "variance" of the risks (V-REx) or "gradient" (IRMv1).
        mixup: concentration of the cyclic mixtures that are environments too; 0 = none.
        warmup: share of ``epochs`` over which the KL and invariance weights rise from 0.
        new_item_evenness: by which power the norms of new items are brought together; 0 = none, 1 = they are all alike.
        new_item_budget: share of validation recall@20 and ndcg@20 over all items that pushing new items may cost.
        device: "cpu", "cuda", or "auto".
        settings: of a published model's own, by name, in place of its defaults (the ``Settings`` in its file).
    """

    preset: str = "i3mrec"
    seed: int = 0
    epochs: int = 80
    patience: int = 80
    evaluate_every: int = 10
    batch_items: int = 512
    batch_pairs: int = 2048
    lr: float = 3e-3
    d: int = 256
    hidden: int = 256
    dropout: float = 0.2
    unobserved: float = 0.0
    ridge: float = 0.0
    popularity_exponent: float = 0.35
    sweeps: int = 8
    content_weight: float = 0.6
    content_ridge: float = 0.3
    missing_rate: float = 0.3
    max_history: int = 1000
    kl_weight: float = 0.0
    free_bits: float = 0.02
    environment_weight: float = 0.3
    invariance_weight: float = 1.0
    penalty: str = "variance"
    mixup: float = 0.0
    warmup: float = 0.2
    new_item_evenness: float = 0.5
    new_item_budget: float = 0.01
    device: str = "auto"
    settings: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses values that cannot be meant.

        Raises:
            ConfigError: naming the field, what was expected and what was found.
        """
        for names, expected, meant in _RULES:
            for name in names:
                if not meant(value := getattr(self, name)):
                    raise ConfigError(name, expected, value)
