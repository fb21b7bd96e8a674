"""Settings of the published models, by name."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from training.dataset import Dataset
from training.errors import ConfigError
from training.losses import LEAST_TEMPERATURE, mutual_info_nce
from training.models import PRESETS, configure
from training.models.settings import bounded, chosen_settings
from training.prepared import prepare_data


@dataclass(frozen=True, slots=True)
class Knobs:
    """Two settings."""

    layers: int = 3
    weight: float = 0.5


def test_given_ones_replace_defaults() -> None:
    """Whole numbers come out whole."""
    assert chosen_settings(Knobs, {}) == Knobs()
    chosen = chosen_settings(Knobs, {"layers": 2.0, "weight": 1})
    assert chosen == Knobs(2, 1.0)
    assert [type(chosen.layers), type(chosen.weight)] == [int, float]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"depth": 1.0}, "setting depth: expected one of layers, weight, found 'depth'"),
        ({"layers": 1.5}, "setting layers: expected a whole number of at least 0, found 1.5"),
        ({"weight": -1.0}, "setting weight: expected a finite number of at least 0, found -1.0"),
        ({"weight": math.nan}, "setting weight: expected a finite number of at least 0, found nan"),
        ({"layers": math.inf}, "setting layers: expected a whole number of at least 0, found inf"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, float], expected: str) -> None:
    """With the setting, what was expected and what was found."""
    with pytest.raises(ConfigError) as caught:
        chosen_settings(Knobs, given)

    assert str(caught.value) == expected


@dataclass(frozen=True, slots=True)
class Bounded:
    """Settings that not all numbers from 0 on can be."""

    every: int = bounded(5, least=1)
    dropout: float = bounded(0.5, below=1)
    temperature: float = bounded(0.2, above=0)
    share: float = bounded(0.4, most=1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"every": 0.0}, "setting every: expected a whole number of at least 1, found 0.0"),
        ({"dropout": 1.0}, "setting dropout: expected a finite number of at least 0 and below 1, found 1.0"),
        ({"temperature": 0.0}, "setting temperature: expected a finite number above 0, found 0.0"),
        ({"temperature": math.inf}, "setting temperature: expected a finite number above 0, found inf"),
        ({"share": 1.01}, "setting share: expected a finite number of at least 0 and at most 1, found 1.01"),
        ({"share": -0.1}, "setting share: expected a finite number of at least 0 and at most 1, found -0.1"),
    ],
)
def test_bounds_of_a_setting_hold(given: dict[str, float], expected: str) -> None:
    """They stand with the field."""
    extreme = {"every": 1, "dropout": 0, "temperature": 1e-3, "share": 1}
    assert chosen_settings(Bounded, extreme) == Bounded(1, 0.0, 1e-3, 1.0)
    with pytest.raises(ConfigError) as caught:
        chosen_settings(Bounded, given)

    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("preset", "name", "extreme", "beyond"),
    [
        ("dgmrec", "temperature", LEAST_TEMPERATURE, 0.02),
        ("dgmrec", "refresh_share", 1.0, 1.5),
        ("i3mrec-paper", "temperature", LEAST_TEMPERATURE, 0.02),
    ],
)
def test_settings_end_where_formulas_do(preset: str, name: str, extreme: float, beyond: float) -> None:
    """A temperature at which exponentials vanish, more than the whole of a graph row."""
    assert configure(preset, settings={name: extreme}).settings == {name: extreme}
    with pytest.raises(ConfigError, match=f"setting {name}: expected .*, found {beyond}"):
        configure(preset, settings={name: beyond})


def test_contrast_is_finite_at_the_least_temperature() -> None:
    """Also between opposites, whose exponentials are the smallest: far below it they are 0, and have no logarithm."""
    a = torch.tensor([[1.0, 0.0]]), -torch.tensor([[1.0, 0.0]])

    assert mutual_info_nce(*a, LEAST_TEMPERATURE).item() == pytest.approx(0, abs=1e-4)
    assert not math.isfinite(mutual_info_nce(*a, LEAST_TEMPERATURE / 2).item())


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_are_looked_at_before_anything_is_trained(preset: str) -> None:
    """A sweep would else end hours later."""
    with pytest.raises(ConfigError, match="setting charm"):
        configure(preset, settings={"charm": 1.0})


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_refuses_unknown_settings(preset: str, make_board: Callable[..., Dataset]) -> None:
    """Before anything is trained; also the one that has none."""
    data = prepare_data(make_board(12, 10), 0).data
    config = replace(configure(preset, d=4), settings={"charm": 1.0})

    with pytest.raises(ConfigError, match="setting charm"):
        PRESETS[preset](data, config, torch.device("cpu"))
