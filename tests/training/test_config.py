"""The configuration of a run."""

import math
from dataclasses import asdict, fields

import pytest

from training.config import TrainConfig
from training.errors import ConfigError

SHARES = ("content_weight", "missing_rate", "new_item_budget", "new_item_evenness", "warmup")
WEIGHTS = (
    "kl_weight",
    "free_bits",
    "environment_weight",
    "invariance_weight",
    "mixup",
)
CHOSEN = ("unobserved", "ridge")  # by validation where they are 0
POSITIVE = ("lr", "content_ridge")


def test_defaults_can_be_meant() -> None:
    """The command without flags is a valid run, and the configuration is plain data for the manifest."""
    values = asdict(TrainConfig())

    assert set(values) == {option.name for option in fields(TrainConfig)}
    assert values.pop("settings") == {}
    assert {type(value) for value in values.values()} <= {int, float, str}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("epochs", "patience", "evaluate_every", "batch_items", "batch_pairs", "max_history")),
        *((name, -1) for name in ("d", "hidden", "sweeps", "seed")),
        *((name, -0.1) for name in ("dropout", *SHARES)),
        *((name, 1.1) for name in SHARES),
        *((name, -1.0) for name in WEIGHTS),
        *((name, 0.0) for name in POSITIVE),
        *((name, math.nan) for name in ("dropout", "popularity_exponent", *SHARES, *WEIGHTS, *CHOSEN, *POSITIVE)),
        *((name, math.inf) for name in ("popularity_exponent", *WEIGHTS, *CHOSEN, *POSITIVE)),
        *((name, 1e-30) for name in (*CHOSEN, "content_ridge")),
        *((name, 1e30) for name in (*CHOSEN, "content_ridge")),
        ("popularity_exponent", 300.0),
        ("popularity_exponent", -0.1),
        ("dropout", 1.0),
        ("seed", 2**63),
        ("penalty", "absolute"),
        ("device", "tpu"),
    ],
)
def test_value_that_cannot_be_meant_is_refused(name: str, value: object) -> None:
    """The error names the field, what was expected and what was found, and carries them as attributes."""
    with pytest.raises(ConfigError, match=f"^{name}: expected .*, found ") as caught:
        TrainConfig(**{name: value})

    assert caught.value.name == name
    assert caught.value.found is value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0.0) for name in ("dropout", "popularity_exponent", *SHARES, *WEIGHTS, *CHOSEN)),
        ("popularity_exponent", 4.0),
        *((name, value) for name in ("ridge", "content_ridge") for value in (1e-9, 1e9)),
        *(("unobserved", value) for value in (1e-6, 1e6)),
        *((name, 1.0) for name in SHARES),
        *((name, 1) for name in ("d", "hidden", "sweeps", "batch_items", "batch_pairs", "max_history")),
        ("penalty", "variance"),
        ("penalty", "gradient"),
        ("seed", 2**63 - 1),
        ("epochs", 1),
    ],
)
def test_extremes_are_allowed(name: str, value: object) -> None:
    """Limits belong to what is allowed."""
    assert getattr(TrainConfig(**{name: value}), name) == value
