"""What a device must show before it searches: that it adds, finds and filters as numpy does."""

import numpy as np

from service.adapters.candidates import Shown
from service.adapters.exact_scan import Batch, Numbers
from service.adapters.gpu_engines import Device, DeviceFlat, DeviceGraph, DeviceUnusable
from service.adapters.ranking import exact_scores, longest_row, norms_of
from service.adapters.segments import NONE, ExactEngine
from service.domain import Matrix

_ROWS, _QUERIES, _K = 4096, 16, 32
_LEAST_RECALL = 0.8  # of a graph of so few rows; the recall wanted is measured later, on the real ones


def try_flat(device: Device, d: int, *, half: bool) -> None:
    """Searches some vectors with and without hidden rows, and compares.

    Vectors of positive numbers are among them: their sums grow, and show an addition in half precision, which the
    bound does not allow for.

    Raises:
        DeviceUnusable: a score is off by more than the bound, or a hidden row is found.
    """
    for matrix, queries in (_vectors(d), tuple(map(np.abs, _vectors(d)))):
        engine = DeviceFlat(matrix, device, ExactEngine(matrix), half=half)
        slack = engine.slack(Batch(queries, _K, norms_of(queries), longest_row(matrix), NONE, NONE, NONE))
        for shown in _both():
            scores, rows = engine.fetch(queries, _K, shown)
            _check_rows(rows, shown)
            for number, query in enumerate(queries):
                exact = exact_scores(matrix, query)
                off = float(np.abs(exact[rows[number]] - scores[number]).max())
                best = np.where(shown.has(np.arange(_ROWS)), exact, -np.inf)
                missed = float(np.partition(best, -_K)[-_K] - exact[rows[number]].min())
                if not (off <= slack[number] and missed <= 2 * slack[number]):
                    raise DeviceUnusable(f"expected scores within {slack[number]:.3g}, found one off by {off:.3g}")


def try_graph(device: Device, d: int) -> None:
    """The same for a graph, which may miss some.

    Raises:
        DeviceUnusable: a hidden row is found, or too few of the best are.
    """
    matrix, queries = _vectors(d)
    graph = DeviceGraph(matrix, device)
    for shown in _both():
        rows = graph.propose(queries, _K, graph.efforts[-1], shown)
        _check_rows(rows, shown)
        exact = np.stack([exact_scores(matrix, query) for query in queries])
        best = np.where(shown.has(np.arange(_ROWS)), exact, -np.inf)
        least = np.partition(best, -_K, axis=1)[:, -_K]
        recall = float((np.take_along_axis(best, rows, axis=1) >= least[:, None]).mean())
        if recall < _LEAST_RECALL:
            raise DeviceUnusable(f"expected a recall of {_LEAST_RECALL} of a graph of {_ROWS} rows, found {recall:.2f}")


def _vectors(d: int) -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((_ROWS, d), dtype=np.float32), rng.standard_normal((_QUERIES, d), dtype=np.float32)


def _both() -> tuple[Shown, Shown]:
    return Shown(_ROWS), Shown.but(_ROWS, np.arange(0, _ROWS, 2))


def _check_rows(rows: Numbers, shown: Shown) -> None:
    if not shown.has(rows).all():
        what = "rows that it has" if shown.bits is None else "rows that are not hidden: it ignores selectors"
        raise DeviceUnusable(f"expected {what}, found others")
