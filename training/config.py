"""The configuration of a training run: flags in, saved in the manifest."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.errors import ConfigError

_SCHEDULE = ("epochs", "patience", "evaluate_every", "batch_users", "batch_pairs")
_COUNTS = (*_SCHEDULE, "candidates", "d", "hidden", "max_history")
_WEIGHTS = ("kl_weight", "free_bits", "environment_weight", "invariance_weight", "id_scale")
# Fields, what is expected of them, and whether a value is that; NaN never is.
_RULES: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("seed",), "an integer from 0 to 2^63 - 1", lambda value: 0 <= value < 2**63),  # what torch's generators take
    (_COUNTS, "at least 1", lambda value: value >= 1),
    (("history_dropout", "id_dropout", "missing_rate", "warmup"), "a share from 0 to 1", lambda value: 0 <= value <= 1),
    (("dropout",), "a share from 0 to below 1", lambda value: 0 <= value < 1),  # what is kept is scaled up
    (_WEIGHTS, "a finite number of at least 0", lambda value: 0 <= value < math.inf),
    (("lr",), "a finite number above 0", lambda value: 0 < value < math.inf),
    (("alpha",), "a finite number", math.isfinite),
    (("device",), "auto, cpu or cuda", lambda value: value in {"auto", "cpu", "cuda"}),
)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that shapes a run besides the data.

    The defaults are those of the default preset; ``training.models.configure`` knows where others differ.

    Attributes:
        preset: name of the model, a key of ``training.models.PRESETS``.
        seed: of every random choice.
        epochs: upper bound; early stopping may end sooner.
        patience: epochs without a better validation recall@20 after which training stops.
        evaluate_every: epochs between validations.
        batch_users: users per step, at most an eighth of all.
        batch_pairs: interactions per step where a model learns from pairs of items; at most an eighth of all.
        candidates: items that compete in one softmax; catalogues larger than that are sampled anew each step.
        lr: Adam's step size.
        d: embedding size.
        hidden: width of each modality's expert network.
        dropout: of the features and hidden units of the experts.
        history_dropout: share of a user's items that is predicted from the rest.
        id_dropout: probability that a warm item is treated as new in a step: its ID embedding is left out.
        missing_rate: mean probability that a present modality is hidden in a step.
        alpha: exponent of the history rule, ``u = |H|^-alpha Σ h_i``.
        max_history: latest items of a history that encode a user.
        kl_weight: final weight of the bottleneck's KL term.
        free_bits: nats per dimension that the KL term leaves alone.
        environment_weight: weight of the mean risk over the single-modality environments.
        invariance_weight: final weight of the variance of those risks.
        warmup: share of ``epochs`` over which the KL and invariance weights rise from 0.
        id_scale: standard deviation of the ID embeddings at the start.
        device: "cpu", "cuda", or "auto".
    """

    preset: str = "i3mrec"
    seed: int = 0
    epochs: int = 60
    patience: int = 15
    evaluate_every: int = 3
    batch_users: int = 512
    batch_pairs: int = 2048
    candidates: int = 4096
    lr: float = 4e-3
    d: int = 128
    hidden: int = 256
    dropout: float = 0.1
    history_dropout: float = 0.5
    id_dropout: float = 0.4
    missing_rate: float = 0.3
    alpha: float = 0.5
    max_history: int = 1000
    kl_weight: float = 1e-3
    free_bits: float = 0.02
    environment_weight: float = 0.3
    invariance_weight: float = 1.0
    warmup: float = 0.2
    id_scale: float = 0.05
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuses values that cannot be meant.

        Raises:
            ConfigError: naming the field, what was expected and what was found.
        """
        for names, expected, meant in _RULES:
            for name in names:
                if not meant(value := getattr(self, name)):
                    raise ConfigError(name, expected, value)
