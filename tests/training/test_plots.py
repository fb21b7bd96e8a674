"""The picture of recall against what is missing."""

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from training.contestants import known_names
from training.plots import _COLOURS, _MARKERS, _number, curves, recall_vs_missing, spread
from training.results import Estimate, ResultTable, Row

RATES = (0.0, 0.3, 0.5, 0.9)


def row(model: str, recall: float, sd: float | None) -> Row:
    """A model in a table."""
    kind = "baseline" if sd is None else "preset"
    values = {"recall@20": Estimate(recall, sd), "ndcg@20": Estimate(recall / 2, sd)}
    return Row(model, kind, (0,), {"all": values}, d=8, encoder_parameters=None, seconds=1.0)


def tables(protocol: str, rates: tuple[float, ...] = RATES, n_models: int = 3) -> list[ResultTable]:
    """Models of falling recall; the first is a preset and loses most."""
    return [
        ResultTable(
            protocol,
            f"{rate:g}",
            rate,
            100,
            tuple(
                row(f"model-{n}", 0.4 - 0.02 * n - (0.1 if n == 0 else 0.01) * rate, None if n else 0.01)
                for n in range(n_models)
            ),
        )
        for rate in rates
    ]


def test_picture_is_written_in_both_forms(tmp_path: Path) -> None:
    """A PNG of sensible size that is not blank, and an SVG whose text is text."""
    paths = recall_vs_missing(tables("static") + tables("full-train"), "films", tmp_path / "recall_vs_missing")

    assert [path.name for path in paths] == ["recall_vs_missing.png", "recall_vs_missing.svg"]
    header = paths[0].read_bytes()[:24]
    width, height = struct.unpack(">II", header[16:])
    assert header.startswith(b"\x89PNG\r\n\x1a\n")
    assert 1200 < width < 3000
    assert 600 < height < 1500
    assert paths[0].stat().st_size > 20_000
    drawing = paths[1].read_text(encoding="utf-8")
    for text in ("films: recall as modalities go missing", "static: the same mask", "full-train", "model-2", "90%"):
        assert text in drawing


def test_picture_is_the_same_each_time(tmp_path: Path) -> None:
    """No date, no random ids: a report under version control changes only where results do."""
    for name in ("one", "other"):
        recall_vs_missing(tables("static"), "films", tmp_path / name)

    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


@pytest.mark.parametrize("n_models", [1, 16])
def test_any_number_of_models_is_drawn(tmp_path: Path, n_models: int) -> None:
    """Each with its name, and without a warning."""
    paths = recall_vs_missing(tables("static", n_models=n_models), "films", tmp_path / "picture")

    names = re.findall(r"model-\d+", paths[1].read_text(encoding="utf-8"))
    assert len(set(names)) == n_models


def test_a_model_looks_alike_in_all_pictures() -> None:
    """Whatever it is drawn beside; no two models look alike."""
    looks = {name: (_number(name) % len(_COLOURS), _number(name) % len(_MARKERS)) for name in known_names()}

    assert len(set(looks.values())) == len(looks)
    assert _number("i3mrec") == list(known_names()).index("i3mrec")


def test_there_is_no_picture_of_a_single_rate(tmp_path: Path) -> None:
    """Nor of a published mask, nor of protocols that are about something else."""
    masked = ResultTable("static-dgmrec", "published", None, 100, (row("model-0", 0.4, None),))

    assert recall_vs_missing([*tables("static", (0.5,)), *tables("mixed"), masked], "films", tmp_path / "picture") == []
    assert not list(tmp_path.iterdir())


def test_curves_are_in_the_order_of_rates() -> None:
    """Whatever the order of the tables; a model without a rate has a shorter curve."""
    given = tables("static")
    given[1] = ResultTable("static", "0.3", 0.3, 100, given[1].rows[:1])

    by_name = {curve.model: curve for curve in curves(given[::-1], "static")}
    assert by_name["model-0"].rates.tolist() == [0, 0.3, 0.5, 0.9]
    assert by_name["model-0"].sd.tolist() == [0.01] * 4
    assert by_name["model-1"].rates.tolist() == [0, 0.5, 0.9]
    assert by_name["model-1"].sd.tolist() == [0] * 3


def test_labels_that_have_room_stay() -> None:
    """In the order they came."""
    assert spread([0.9, 0.1, 0.5], 0.1, 0, 1) == pytest.approx([0.9, 0.1, 0.5])


def test_labels_that_touch_move_apart_evenly() -> None:
    """Two at one height part to either side; their middle stays."""
    assert spread([0.5, 0.5, 0.9], 0.1, 0, 1) == pytest.approx([0.45, 0.55, 0.9])


def test_labels_stay_inside() -> None:
    """At the upper end they give way downwards, at the lower one upwards."""
    assert spread([1.0, 1.0], 0.1, 0, 1) == pytest.approx([0.9, 1.0])
    assert spread([0.0, 0.0], 0.1, 0, 1) == pytest.approx([0.0, 0.1])


def test_labels_keep_order_and_distance() -> None:
    """Of 15 random ones."""
    heights = np.random.default_rng(0).random(15)

    placed = np.array(spread(list(heights), 0.05, 0, 1))

    assert np.array_equal(np.argsort(placed), np.argsort(heights))
    assert np.diff(np.sort(placed)).min() > 0.05 - 1e-9
    assert placed.min() > -1e-9
    assert placed.max() < 1 + 1e-9
