"""Engines of others. hnswlib and usearch are there only where they are installed."""

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np

from benchmarks.search_questions import Matrix, Numbers, Question

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper

_LINKS = 16  # of a node in a graph
_CARE = 100  # candidates while a graph is made
_PROBED = 16  # one of so many lists is looked through
_SAMPLE = 64  # vectors for each list, to find its centre


def _beam(k: int) -> int:
    """Candidates while a graph is searched."""
    return max(100, 2 * k)


class Faiss:
    """Any index of FAISS. What a query may not find is told by a bitmap, which was quicker than the other selectors.

    Args:
        index: what is searched.
        parameters: of a search, from k and a selector or None.
    """

    def __init__(self, index: Any, parameters: Callable[[int, Any], Any]) -> None:
        self._index = index
        self._parameters = parameters

    def ask(self, question: Question) -> Any:
        """Rows (b, k). A selector holds for all queries of a search, so what is excluded is asked query by query."""
        if question.excluded is None:
            chosen = None if question.allowed is None else self._selector(allowed=question.allowed)
            return self._search(question.vectors, question.k, chosen)
        singles = zip(question.vectors, question.excluded, strict=True)
        found = [self._search(vector[None], question.k, self._selector(excluded=rows)) for vector, rows in singles]
        return np.concatenate(found)

    def rows(self, found: Any) -> Sequence[Numbers]:
        """Where fewer are found, the others are -1."""
        return [rows[rows >= 0] for rows in found]

    def _search(self, vectors: Matrix, k: int, chosen: Any) -> Any:
        return self._index.search(vectors, k, params=self._parameters(k, chosen))[1]

    def _selector(self, *, allowed: Numbers | None = None, excluded: Numbers | None = None) -> Any:
        shown = np.full(self._index.ntotal, allowed is None)
        if allowed is not None:
            shown[allowed] = True
        if excluded is not None:
            shown[excluded] = False
        return _engine.IDSelectorBitmap(np.packbits(shown, bitorder="little"))


def faiss_flat(matrix: Matrix, threads: int) -> Faiss:
    """IndexFlatIP: every vector is looked at."""
    _engine.omp_set_num_threads(threads)
    index = _engine.IndexFlatIP(matrix.shape[1])
    index.add(matrix)
    return Faiss(index, lambda _, chosen: _engine.SearchParameters(sel=chosen) if chosen else None)


def faiss_lists(matrix: Matrix, threads: int) -> Faiss:
    """IVF: lists of vectors around centres, of which the nearest are looked through."""
    _engine.omp_set_num_threads(threads)
    n, d = matrix.shape
    lists = 2 ** round(math.log2(math.sqrt(n)))
    index = _engine.index_factory(d, f"IVF{lists},Flat", _engine.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _SAMPLE
    index.train(matrix)
    index.add(matrix)
    probed = max(1, lists // _PROBED)
    return Faiss(index, lambda _, chosen: _engine.SearchParametersIVF(nprobe=probed, sel=chosen))


def faiss_graph(matrix: Matrix, threads: int) -> Faiss:
    """HNSW by FAISS."""
    _engine.omp_set_num_threads(threads)
    index = _engine.IndexHNSWFlat(matrix.shape[1], _LINKS, _engine.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _CARE
    index.add(matrix)
    return Faiss(index, lambda k, chosen: _engine.SearchParametersHNSW(efSearch=_beam(k), sel=chosen))


class Hnswlib:
    """HNSW by its authors."""

    def __init__(self, matrix: Matrix, threads: int) -> None:
        hnswlib: Any = importlib.import_module("hnswlib")
        self._index = hnswlib.Index(space="ip", dim=matrix.shape[1])
        self._index.init_index(max_elements=len(matrix), ef_construction=_CARE, M=_LINKS)
        self._index.set_num_threads(threads)
        self._index.add_items(matrix)

    def ask(self, question: Question) -> Any:
        """Rows (b, k)."""
        self._index.set_ef(_beam(question.k))
        return self._index.knn_query(question.vectors, k=question.k)[0]

    def rows(self, found: Any) -> Sequence[Numbers]:
        """They are rows, without sign."""
        return [rows.astype(np.int64) for rows in found]


class Usearch:
    """HNSW by Unum."""

    def __init__(self, matrix: Matrix, threads: int) -> None:
        usearch: Any = importlib.import_module("usearch.index")
        self._threads = threads
        self._index = usearch.Index(
            ndim=matrix.shape[1], metric="ip", dtype="f32", connectivity=_LINKS, expansion_add=_CARE
        )
        self._index.add(np.arange(len(matrix), dtype=np.uint64), matrix, threads=threads)

    def ask(self, question: Question) -> Any:
        """Keys and counts."""
        self._index.expansion_search = _beam(question.k)
        return self._index.search(question.vectors, question.k, threads=self._threads)

    def rows(self, found: Any) -> Sequence[Numbers]:
        """Keys are rows, without sign; one query alone may come without its own axis."""
        return [rows.astype(np.int64) for rows in np.atleast_2d(found.keys)]
