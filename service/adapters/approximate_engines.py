"""Indexes of FAISS that propose rows without looking at all of them.

What they propose is scored again in full, so 16 bits a number do for their own copy of the rows.
"""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from service.adapters.candidates import Shown
from service.adapters.exact_scan import Numbers
from service.domain import Matrix

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper

_STEP = 1 << 12  # rows that are added before it is looked whether to go on
_ROUNDS = 10  # of learning lists
_TRAINING = 40  # rows for each list that is learned; FAISS warns below 39
_NEIGHBOURS = 32  # of a row in the graph; twice as many on its ground floor
_BUILD_EFFORT = 128
_SEED = 0
_STEPS = tuple(sorted({factor << power for factor in (2, 3) for power in range(16)} | {1}))  # each half as much more
_EFFORTS = tuple(effort for effort in _STEPS if effort in range(32, 513))  # of a graph; beyond, all rows are as quick

Check = Callable[[], object]


def no_check() -> None:
    """Lets everything go on."""


class Lists:
    """Rows in lists of neighbours (IVF), of which the nearest are looked at; the effort is how many.

    Args:
        matrix: (n, d) float32, not empty.
        threads: threads inside one search.
        check: called between steps; raises where the index is not wanted any more.
    """

    def __init__(self, matrix: Matrix, *, threads: int = 1, check: Check = no_check) -> None:
        n, d = matrix.shape
        lists = max(1, min(int(4 * n**0.5), n // _TRAINING))
        self.efforts = tuple(effort for effort in _STEPS if effort <= max(1, lists // 2))
        _engine.omp_set_num_threads(threads)  # holds for the calling thread only
        some = np.random.default_rng(_SEED).choice(n, min(n, lists * _TRAINING), replace=False)
        sample = np.ascontiguousarray(matrix[np.sort(some)])
        index = _engine.IndexIVFScalarQuantizer(
            _nearest(sample, lists, check),
            d,
            lists,
            _engine.ScalarQuantizer.QT_fp16,
            _engine.METRIC_INNER_PRODUCT,
            False,  # what is kept is the row, not how far it is from the middle of its list
        )
        index.train(sample)  # learns nothing more
        fill(index, matrix, check)
        self._index, self._threads = index, threads

    def propose(self, queries: Matrix, k: int, effort: int, shown: Shown) -> Numbers:
        """Rows (b, k) of the lists looked at, best first; -1 where these have no more."""
        parameters = _engine.SearchParametersIVF(nprobe=effort, sel=selector(shown))
        return search(self._index, queries, k, parameters, self._threads)


class Graph:
    """Rows with edges to their neighbours (HNSW), along which a search walks; the effort is how many it keeps in view.

    Args:
        matrix: (n, d) float32.
        threads: threads inside one search.
        check: called between steps; raises where the index is not wanted any more.
    """

    efforts = _EFFORTS

    def __init__(self, matrix: Matrix, *, threads: int = 1, check: Check = no_check) -> None:
        kind = _engine.ScalarQuantizer.QT_fp16
        index = _engine.IndexHNSWSQ(matrix.shape[1], kind, _NEIGHBOURS, _engine.METRIC_INNER_PRODUCT)
        index.train(np.ascontiguousarray(matrix[:1]))  # nothing is learned for 16 bits
        index.hnsw.efConstruction = _BUILD_EFFORT
        _engine.omp_set_num_threads(threads)
        fill(index, matrix, check)
        self._index, self._threads = index, threads

    def propose(self, queries: Matrix, k: int, effort: int, shown: Shown) -> Numbers:
        """Rows (b, k) that the walk met, best first; -1 where it met no more."""
        parameters = _engine.SearchParametersHNSW(efSearch=max(effort, k), sel=selector(shown))
        return search(self._index, queries, k, parameters, self._threads)


def _nearest(sample: Matrix, lists: int, check: Check) -> Any:
    """What tells the nearest lists of a vector, learned round by round."""
    clustering = _engine.Clustering(sample.shape[1], lists)
    clustering.niter, clustering.seed, clustering.min_points_per_centroid = 1, _SEED, 1
    nearest = _engine.IndexFlatIP(sample.shape[1])
    for _ in range(_ROUNDS):
        check()
        clustering.train(sample, nearest)  # goes on from the round before
    return nearest


def fill(index: Any, matrix: Matrix, check: Check) -> None:
    """Adds all rows, of which only some at a time must be in memory."""
    for start in range(0, len(matrix), _STEP):
        check()
        index.add(np.ascontiguousarray(matrix[start : start + _STEP]))


def search(index: Any, queries: Matrix, k: int, parameters: Any, threads: int) -> Numbers:
    """The rows (b, k) that an index finds; -1 where there are no more."""
    _engine.omp_set_num_threads(threads)
    rows: Numbers = index.search(queries, k, params=parameters)[1]
    return rows


def selector(shown: Shown) -> Any:
    """What tells FAISS which rows it may find; it reads the bits in place, and its Python wrapper keeps them alive."""
    return None if shown.bits is None else _engine.IDSelectorBitmap(shown.bits)
