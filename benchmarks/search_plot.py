"""Time per query against the number of items: a picture of the tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter
from scipy.optimize import isotonic_regression

from benchmarks.search_engines import FLOOR, REFERENCE

# Okabe and Ito's colours, which nearly everyone tells apart. Ours are strong, approximate engines dashed.
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "ours, int8": {"color": "#D55E00", "linewidth": 2.6, "marker": "o", "zorder": 4},
    "ours, exact": {"color": "#E69F00", "linewidth": 2.6, "marker": "s", "zorder": 3},
    "ours, int8, churned": {"color": "#D55E00", "linewidth": 1.2, "marker": "o", "markerfacecolor": "white"},
    "ours, exact, churned": {"color": "#E69F00", "linewidth": 1.2, "marker": "s", "markerfacecolor": "white"},
    REFERENCE: {"color": "#000000", "linewidth": 1.8, "marker": "D"},
    "numpy": {"color": "#777777", "linewidth": 1.4, "marker": "v"},
    FLOOR: {"color": "#999999", "linewidth": 1.2, "linestyle": ":"},
    "FAISS IVF": {"color": "#009E73", "linewidth": 1.4, "marker": "^", "linestyle": "--"},
    "FAISS HNSW": {"color": "#0072B2", "linewidth": 1.4, "marker": "P", "linestyle": "--"},
    "hnswlib": {"color": "#56B4E9", "linewidth": 1.4, "marker": "X", "linestyle": "--"},
    "usearch": {"color": "#CC79A7", "linewidth": 1.4, "marker": "p", "linestyle": "--"},
}
_STYLE: Any = {  # its type differs between releases
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
}
_MOST_PANELS = 3
_LABEL_APART = 0.047  # of the height of the axes: what a line of label text takes


def draw(measurements: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws the plain cases of the first d and k, a panel for each batch size."""
    done = [measurement for measurement in measurements if "failed" not in measurement]
    if not done:
        return
    done = sorted((m for m in done if m["d"] == done[0]["d"]), key=lambda m: int(m["items"]))
    plain = [case for case in done[0]["cases"] if not case["exclude"] and case["share"] == 1]
    k = plain[0]["k"]
    batches = [case["batch"] for case in plain if case["k"] == k][:_MOST_PANELS]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.2 * len(batches), 5.4), layout="constrained")
        panels = figure.subplots(1, len(batches), squeeze=False, sharey=True)[0]
        for axes, batch in zip(panels, batches, strict=True):
            _draw_panel(axes, done, k, batch)
        panels[0].set_ylabel("µs per query, median")
        for axes in panels:
            _label_ends(axes)
        figure.suptitle(f"Time to find the {k} best of vectors of {done[0]['d']} numbers; dashed: approximate")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)


def _draw_panel(axes: Axes, measurements: Sequence[Mapping[str, Any]], k: int, batch: int) -> None:
    for engine, look in _LOOKS.items():
        points = [
            (measurement["items"], row["us_median"])
            for measurement in measurements
            for case in measurement["cases"]
            if (case["k"], case["batch"], case["exclude"], case["share"]) == (k, batch, 0, 1)
            for row in case["measured"]
            if row["engine"] == engine
        ]
        if points:
            items, times = zip(*points, strict=True)
            axes.plot(items, times, label=engine, markersize=5.5, **look)
    axes.set(xscale="log", yscale="log", xlabel="items")
    axes.set_title("single queries" if batch == 1 else f"{batch} queries at once", fontsize=11, color="#444444")
    sizes = [measurement["items"] for measurement in measurements]
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axes.grid(color="#E6E6E6", linewidth=0.8)


def _label_ends(axes: Axes) -> None:
    """Each line's name at the right, as near to the height of its end as the other names leave it."""
    low, high = np.log(axes.get_ylim())
    lines = sorted(axes.get_lines(), key=lambda line: _end(line)[1])
    ends = [(np.log(_end(line)[1]) - low) / (high - low) for line in lines]
    steps = _LABEL_APART * np.arange(len(lines))
    heights = isotonic_regression(np.array(ends) - steps).x + steps
    for line, height in zip(lines, heights.tolist(), strict=True):
        axes.annotate(
            str(line.get_label()),
            xy=_end(line),
            xytext=(1.04, height),
            textcoords="axes fraction",
            color=line.get_color(),
            fontsize=9,
            va="center",
            fontweight="bold" if line.get_linewidth() > 2 else "normal",
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.5, "alpha": 0.6},
        )


def _end(line: Line2D) -> tuple[float, float]:
    return float(np.asarray(line.get_xdata())[-1]), float(np.asarray(line.get_ydata())[-1])
