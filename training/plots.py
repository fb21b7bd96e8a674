"""Recall against what is missing: a picture of the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from training.contestants import known_names
from training.protocols import PROTOCOLS
from training.results import HEADLINE, ResultTable

PROTOCOLS_SHOWN = ("static", "full-train")
# Okabe and Ito's colours, which nearly everyone tells apart, without the yellow, which is lost on white; then darker
# ones of Tol. The lengths of the two lists have no common divisor: a pair of colour and marker comes back late.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933", "#44AA99", "#332288", "#8C564B"),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")
_LABEL_HEIGHT = 0.26  # inches that a line of label text takes, and a little more
_RATES_NEEDED = 2  # a line has two ends
_STYLE: Any = {  # its type differs between releases
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "i3rec",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One model's recall by missing rate.

    Attributes:
        model: its name.
        kind: "preset" or "baseline".
        rates: (n,) ascending.
        mean: (n,) over seeds.
        sd: (n,) over seeds; 0 where there is one.
    """

    model: str
    kind: str
    rates: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def recall_vs_missing(tables: Sequence[ResultTable], data: str, stem: Path) -> list[Path]:
    """Draws recall@20 by missing rate, a panel for each of static and full-train, as ``stem``.png and ``stem``.svg.

    Returns:
        What was written: nothing where no protocol has two rates.
    """
    panels = {name: found for name in PROTOCOLS_SHOWN if (found := curves(tables, name))}
    if not panels:
        return []
    paths = [stem.with_suffix(".png"), stem.with_suffix(".svg")]
    with mpl.rc_context(_STYLE):
        figure = _draw(panels, data)
        figure.savefig(paths[0], dpi=160)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def curves(tables: Sequence[ResultTable], protocol: str) -> list[Curve]:
    """The models' curves under a protocol that was run at two rates or more, in the order of their means."""
    part = PROTOCOLS[protocol].parts[0]
    chosen = [(table.rate, table) for table in tables if table.protocol == protocol and table.rate is not None]
    if len(chosen) < _RATES_NEEDED:
        return []
    points: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for rate, table in sorted(chosen, key=lambda pair: pair[0]):
        for row in table.rows:
            value = row.parts[part][HEADLINE]
            points.setdefault((row.model, row.kind), []).append((rate, value.mean, value.sd or 0.0))
    found = [Curve(model, kind, *np.array(values).T) for (model, kind), values in points.items()]
    return sorted(found, key=lambda curve: (-float(curve.mean.mean()), curve.model))


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves heights ``gap`` apart by as little as it takes, and between ``low`` and ``high`` if they fit."""
    order = np.argsort(heights, kind="stable")
    stack = gap * np.arange(len(heights))
    # What must only rise once the stack is taken off: least squares under an order, hence isotonic regression.
    risen = isotonic_regression(np.asarray(heights, np.float64)[order] - stack).x
    result = np.empty(len(heights))
    result[order] = np.maximum(np.minimum(risen, high - stack.max()), low) + stack
    return [float(height) for height in result]


def _draw(panels: Mapping[str, Sequence[Curve]], data: str) -> Figure:
    drawn = sorted((curve for found in panels.values() for curve in found), key=lambda curve: curve.kind != "preset")
    names = list(dict.fromkeys(curve.model for curve in drawn))
    height = max(5.0, 1.4 + 0.3 * len(names))
    figure = Figure(figsize=(1.2 + 5.8 * len(panels), height), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    low, high = _limits([curve for found in panels.values() for curve in found])
    for axis, (protocol, found) in zip(axes, panels.items(), strict=True):
        axis.set_ylim(low, high)
        for curve in found:
            _draw_curve(axis, curve, _number(curve.model))
        _dress(axis, protocol, found)
        _label(axis, found, _LABEL_HEIGHT / height)
    axes[0].set_ylabel("recall@20 on the test part", labelpad=8)
    figure.suptitle(f"{data}: recall as modalities go missing", fontsize=13, fontweight="bold", x=0.01, ha="left")
    kinds = {curve.kind: None for curve in drawn}
    note = "solid: presets, dashed: baselines" if len(kinds) > 1 else ""
    spread_out = "bars: ± one standard deviation over seeds" if any(curve.sd.any() for curve in drawn) else ""
    figure.supxlabel("; ".join(filter(None, (note, spread_out))), fontsize=9, color="#666666", x=0.01, ha="left")
    return figure


def _draw_curve(axis: Axes, curve: Curve, number: int) -> None:
    preset = curve.kind == "preset"
    colour = _COLOURS[number % len(_COLOURS)]
    axis.plot(
        curve.rates,
        curve.mean,
        color=colour,
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=6.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=2.2 if preset else 1.3,
        linestyle="-" if preset else (0, (4, 2)),
        zorder=3 if preset else 2,
    )
    if curve.sd.any():
        axis.errorbar(curve.rates, curve.mean, curve.sd, fmt="none", ecolor=colour, elinewidth=1, capsize=3, zorder=1.5)


def _dress(axis: Axes, protocol: str, found: Sequence[Curve]) -> None:
    what = {"static": "static: the same mask in training and test", "full-train": "full-train: masked at test only"}
    axis.set_title(what[protocol], loc="left", fontsize=10.5, color="#333333")
    axis.set_xlabel("(item, modality) pairs missing")
    axis.set_xticks(sorted({float(rate) for curve in found for rate in curve.rates}))
    axis.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axis.grid(visible=True, axis="y", color="#e3e3e3", linewidth=0.8)
    axis.tick_params(color="#999999", labelleft=True)


def _number(model: str) -> int:
    """What gives a model its colour and marker, the same in every picture."""
    names = [*known_names()]
    return names.index(model) if model in names else len(names)


def _label(axis: Axes, found: Sequence[Curve], gap: float) -> None:
    """Names each line at its right end, ``gap`` of the axis apart, with a thin line to where it belongs."""
    low, high = axis.get_ylim()
    ends = [(float(curve.mean[-1]) - low) / (high - low) for curve in found]
    heights = spread(ends, gap, 0.0, 1.0)
    last = max(float(curve.rates[-1]) for curve in found)
    for curve, height in zip(found, heights, strict=True):
        colour = _COLOURS[_number(curve.model) % len(_COLOURS)]
        axis.annotate(
            curve.model,
            xy=(float(curve.rates[-1]), float(curve.mean[-1])),
            xytext=(1.05, height),
            textcoords="axes fraction",
            va="center",
            color=colour,
            fontweight="bold" if curve.kind == "preset" else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "alpha": 0.45,
                "linewidth": 0.7,
                "linestyle": "-" if curve.rates[-1] == last else ":",  # not measured up to there
                "shrinkA": 0,
                "shrinkB": 5,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )
    axis.set_xlim(right=last + 0.02)


def _limits(found: Sequence[Curve]) -> tuple[float, float]:
    """From 0 where the worst is less than half of the best, else from a little below the worst."""
    low = min(float((curve.mean - curve.sd).min()) for curve in found)
    high = max(float((curve.mean + curve.sd).max()) for curve in found)
    room = 0.06 * (high - low) or 0.05 * high or 1.0
    return (0.0 if low < high / 2 else low - room), high + room
