"""Vectors, questions about them, and what float64 says is the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Numbers = NDArray[np.int64]

_TASTES = 256
_EQUAL = 100  # one of so many vectors is another one's equal, so that there are ties
_BLOCK = 1 << 16  # rows in double precision at once
_TOGETHER = 32  # queries whose scores are held at once
_CLOSE = 1e-9  # relative; how far two float64 sums of the same products may be apart, generously


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked for.

    Attributes:
        k: how many items.
        batch: queries at once.
        exclude: items that each query may not find, others for each.
        share: of the items, which the query may find.
    """

    k: int
    batch: int
    exclude: int = 0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """Queries that are asked at once, in terms of rows and of names.

    Attributes:
        vectors: (b, d) float32.
        k: how many items each wants.
        excluded: rows that each may not find; None = any.
        excluded_names: theirs.
        allowed: rows that any may find, ascending; None = all.
        allowed_names: theirs.
    """

    vectors: Matrix
    k: int
    excluded: Sequence[Numbers] | None = None
    excluded_names: Sequence[frozenset[str]] = ()
    allowed: Numbers | None = None
    allowed_names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query should find: rows by score, equal scores by row, and the scores."""

    rows: Numbers
    scores: NDArray[np.float64]


def make_names(n: int) -> list[str]:
    """Ids in the order of their rows, so that ties are in the same order by either."""
    return [f"item-{row:09d}" for row in range(n)]


def make_vectors(n: int, d: int, rng: np.random.Generator) -> Matrix:
    """Vectors (n, d) around common directions of taste, as trained ones lie, longer for popular items."""
    tastes = rng.standard_normal((_TASTES, d), dtype=np.float32)
    vectors = rng.standard_normal((n, d), dtype=np.float32)
    vectors += tastes[rng.integers(_TASTES, size=n)]
    popularity = n / (1.0 + rng.permutation(n))
    vectors *= ((1 + 0.1 * np.log1p(popularity)) / np.sqrt(2 * d)).astype(np.float32)[:, None]
    some = rng.permutation(n)[: 2 * (n // _EQUAL)].reshape(2, -1)
    vectors[some[0]] = vectors[some[1]]
    return vectors


def make_question(case: Case, matrix: Matrix, names: Sequence[str], rng: np.random.Generator) -> Question:
    """One batch of queries; each is near the items of some taste."""
    n, d = matrix.shape
    near = matrix[rng.integers(n, size=case.batch)]
    vectors = (near + 0.5 * rng.standard_normal((case.batch, d), dtype=np.float32) / np.sqrt(d)).astype(np.float32)
    if case.share < 1:
        allowed = np.sort(rng.permutation(n)[: max(1, round(case.share * n))])
        named = frozenset(names[row] for row in allowed.tolist())
        return Question(vectors, case.k, allowed=allowed, allowed_names=named)
    if case.exclude:
        excluded = [rng.choice(n, case.exclude, replace=False) for _ in range(case.batch)]
        named_each = [frozenset(names[row] for row in rows.tolist()) for rows in excluded]
        return Question(vectors, case.k, excluded=excluded, excluded_names=named_each)
    return Question(vectors, case.k)


def answer(matrix: Matrix, question: Question) -> list[Answer]:
    """The exact answers, one for each query."""
    answers = []
    for start in range(0, len(question.vectors), _TOGETHER):
        queries = question.vectors[start : start + _TOGETHER].astype(np.float64)
        scores = np.empty((len(queries), len(matrix)))
        for first in range(0, len(matrix), _BLOCK):
            block = slice(first, first + _BLOCK)
            np.matmul(queries, matrix[block].astype(np.float64).T, out=scores[:, block])
        answers += [
            _best(matrix, query, _hide(scores[i], start + i, question), question.k) for i, query in enumerate(queries)
        ]
    return answers


def true_scores(matrix: Matrix, rows: Numbers, query: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows, each added up in one order, so that equal vectors score the same."""
    scores: NDArray[np.float64] = np.ascontiguousarray(matrix[rows] * query).sum(axis=1)
    return scores


def _hide(scores: NDArray[np.float64], number: int, question: Question) -> NDArray[np.float64]:
    """The scores, with what the query of that number may not find at minus infinity."""
    if question.excluded is not None:
        scores[question.excluded[number]] = -np.inf
    if question.allowed is not None:
        shown = np.full_like(scores, -np.inf)
        shown[question.allowed] = scores[question.allowed]
        return shown
    return scores


def _best(matrix: Matrix, query: NDArray[np.float64], scores: NDArray[np.float64], k: int) -> Answer:
    k = min(k, int(np.isfinite(scores).sum()))
    least = np.partition(scores, -k)[-k]
    rows = np.flatnonzero(scores >= least - _CLOSE * max(1.0, abs(least)))
    exact = true_scores(matrix, rows, query)
    order = np.lexsort((rows, -exact))[:k]
    return Answer(rows[order], exact[order])
