"""Exact scores and exact order, whatever engine proposed the candidates.

Engines add up a dot product in an order of their own, so the same vector may score differently by the last bit in two
places. Ties must not depend on that: candidates are scored again here, in double precision and one order for all.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.adapters import kernels
from service.domain import Matrix, Vector
from service.queries import Hit

Numbers = NDArray[np.int64]

_TOGETHER = 1 << 17  # numbers in double precision at once: 1 MiB
_UNIT = float(np.finfo(np.float32).eps)
_SMALLEST = float(np.finfo(np.float32).smallest_normal)


def exact_scores(vectors: Matrix, query: Vector | Matrix) -> NDArray[np.float64]:
    """Inner products of (n, d) rows with a (d,) query, or each with its own; equal rows get equal scores anywhere."""
    products: NDArray[np.float64] = np.multiply(vectors, query, dtype=np.float64)
    total: NDArray[np.float64] = np.ascontiguousarray(products).sum(axis=1)
    return total


def exact_scores_of(matrix: Matrix, rows: Numbers, queries: Matrix, numbers: Numbers) -> NDArray[np.float64]:
    """``exact_scores`` of pairs, to the last bit, without ever holding the vectors of many of them.

    Args:
        matrix: (n, d).
        rows: (pairs,) of the matrix.
        queries: (b, d).
        numbers: (pairs,) which query goes with each row.
    """
    if kernels.take(matrix):
        return kernels.score(kernels.KINDS[0], matrix, np.ascontiguousarray(queries, dtype=np.float32), rows, numbers)
    total = np.empty(len(rows))
    exact = queries.astype(np.float64)
    size = max(1, _TOGETHER // matrix.shape[1])
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        products = exact.take(numbers[some], axis=0)
        products *= matrix.take(rows[some], axis=0)
        np.add.reduce(products, axis=1, out=total[some])
    return total


def in_order(numbers: Numbers, scores: NDArray[np.float64], k: int, b: int) -> Numbers:
    """Places of the pairs that are among the k best of their query, by query and then best first.

    Of scores that equal the last of those, all are there. The order of equal scores is not defined.

    Args:
        numbers: (pairs,) the query of each, ascending.
        scores: (pairs,).
        k: at least 1.
        b: how many queries there are.
    """
    if kernels.KINDS:
        return kernels.order(numbers, scores, k)
    if b == 1:
        least = np.partition(scores, -k)[-k] if len(scores) > k else -np.inf
        kept = (scores >= least).nonzero()[0]
        best: Numbers = kept[np.argsort(-scores[kept])]
        return best
    starts = np.searchsorted(numbers, np.arange(b))
    places = np.arange(len(numbers)) - starts[numbers]  # within the query
    width = int(places.max(initial=-1)) + 1
    kept = np.arange(len(numbers))
    if width > k:
        table = np.full((b, width), -np.inf)
        table[numbers, places] = scores
        kept = np.flatnonzero(scores >= np.partition(table, width - k, axis=1)[numbers, width - k])
    sorted_: Numbers = kept[np.lexsort((-scores[kept], numbers[kept]))]
    return sorted_


def best(item_ids: Sequence[str], scores: NDArray[np.float64], k: int) -> list[Hit]:
    """The k best by score descending, ties by id ascending, also where a tie stands at the end of the list."""
    least = np.partition(scores, -k)[-k] if len(scores) > k else -np.inf
    kept = np.flatnonzero(scores >= least)
    order = heapq.nsmallest(k, ((-float(scores[i]), item_ids[i]) for i in kept.tolist()))
    return [Hit(item_id, 0.0 - negative) for negative, item_id in order]


def rounding_bound(d: int, longest: float, norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far float32 dot products of length d can be from the exact ones, in any order of summation.

    ``|fl(v·q) - v·q| ≤ γ_d · ‖v‖·‖q‖`` with ``γ_d = d·u/(1 - d·u)`` (Higham, Accuracy and Stability of Numerical
    Algorithms, 3.1); eps = 2u leaves room for the denominator and for the rounding of the bound itself. Products that
    are too small for float32 are off by less than its smallest normal number each.

    Args:
        d: numbers in a vector.
        longest: the largest Euclidean norm of a row.
        norms: those of the queries, (b,).
    """
    return ((d + 2) * _UNIT * longest) * norms + d * _SMALLEST


def norms_of(vectors: Matrix | NDArray[np.float64]) -> NDArray[np.float64]:
    """The Euclidean norms of rows, (n,)."""
    exact = vectors.astype(np.float64, copy=False)
    norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    return norms


def longest_row(vectors: Matrix) -> float:
    """The largest Euclidean norm of a row; 0 where there is none."""
    if not len(vectors):
        return 0.0
    return float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64).max()))
