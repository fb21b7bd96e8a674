"""The configuration of a training run: flags in, saved in the manifest."""

import math
from dataclasses import dataclass

from training.errors import ConfigError

_SEEDS = 2**63  # what torch's generators take


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that shapes a run besides the data.

    Attributes:
        preset: name of the model, a key of ``training.models.PRESETS``.
        seed: of every random choice.
        epochs: upper bound; early stopping may end sooner.
        patience: epochs without a better validation recall@20 after which training stops.
        evaluate_every: epochs between validations.
        batch_users: users per step, at most an eighth of all.
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
        if not 0 <= self.seed < _SEEDS:
            raise ConfigError("seed", f"an integer from 0 to {_SEEDS - 1}", self.seed)
        for name in ("epochs", "patience", "evaluate_every", "batch_users", "candidates", "d", "hidden", "max_history"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(name, "at least 1", value)
        for name in ("dropout", "history_dropout", "id_dropout", "missing_rate", "warmup"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ConfigError(name, "a share from 0 to 1", value)
        if self.dropout == 1:  # what is kept is scaled by 1 / (1 - dropout)
            raise ConfigError("dropout", "a share below 1", self.dropout)
        for name in ("kl_weight", "free_bits", "environment_weight", "invariance_weight", "id_scale"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ConfigError(name, "a finite number of at least 0", value)
        if not 0 < self.lr < math.inf:
            raise ConfigError("lr", "a finite number above 0", self.lr)
        if not math.isfinite(self.alpha):
            raise ConfigError("alpha", "a finite number", self.alpha)
        if self.device not in {"auto", "cpu", "cuda"}:
            raise ConfigError("device", "auto, cpu or cuda", self.device)
