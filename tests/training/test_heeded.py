"""Which fields of the configuration each preset heeds."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import Any

import pytest

from training.config import TrainConfig
from training.contestants import contestants
from training.dataset import Dataset
from training.errors import ConfigError
from training.fitting import fit
from training.models import HEEDED, PRESETS, configure
from training.prepared import prepare_data
from training.selection import selected

FIELDS = {option.name for option in fields(TrainConfig)}
_read: set[str] = set()


class Watched(TrainConfig):
    """Writes down which of its fields are read, but for checks and copies, which read all of them."""

    def __getattribute__(self, name: str) -> Any:
        if sys._getframe(1).f_globals["__name__"] not in {"dataclasses", "training.config"}:
            _read.add(name)
        return super().__getattribute__(name)


@pytest.fixture
def read() -> Iterator[set[str]]:
    """What was read since."""
    _read.clear()
    yield _read
    _read.clear()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_read_the_fields_that_they_heed(
    make_board: Callable[..., Dataset], read: set[str], preset: str
) -> None:
    """From the choice of what is open to the calibrated model: these and no others."""
    prepared = prepare_data(make_board(30, 24, missing=0.3, validation=True), 0)
    config = Watched(**asdict(configure(preset, d=4, epochs=1, evaluate_every=1, device="cpu")))

    fit(prepared, selected(prepared, config), lambda _: None)

    assert read & FIELDS == HEEDED[preset]


def test_every_field_is_heeded_by_some_preset() -> None:
    """Every preset says what it heeds, and no field is without effect everywhere."""
    assert set(HEEDED) == set(PRESETS)
    assert set().union(*HEEDED.values()) == FIELDS


def test_contestants_take_what_they_heed() -> None:
    """A flag of one preset leaves the others, and what is kept of them, as they are."""
    given: dict[str, Any] = {"hidden": 8, "lr": 0.1}

    ours, paper, baseline = contestants(["i3mrec", "i3mrec-paper", "ease"], given)

    assert ours.config(0) == asdict(configure(**given))
    assert paper.config(0) == asdict(configure("i3mrec-paper", lr=0.1))
    assert baseline.config(0) == {"baseline": "ease", "seed": 0}


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["milk", "mrdib"], {"lr": 0.1, "hidden": 8}, "hidden: i3mrec, found 'milk, mrdib'"),
        (["ease"], {"device": "cpu"}, "device: dgmrec, i3mrec, .*, found 'ease'"),
    ],
)
def test_what_no_contestant_heeds_is_refused(names: list[str], given: dict[str, Any], message: str) -> None:
    """It would be without effect on all of the tables."""
    with pytest.raises(ConfigError, match=f"presets: expected at least one that heeds {message}"):
        contestants(names, given)
