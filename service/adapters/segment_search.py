"""Answering queries from one view of an index: candidates of each segment, exact scores, exact order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from service.adapters.exact_scan import Batch, scan
from service.adapters.ranking import best, exact_scores, norms_of
from service.adapters.segments import NONE, NamesOf, View, without_rows
from service.adapters.selection import Found, Numbers
from service.domain import Hit, Matrix, Vector

_FEW = 8  # of so many rows or more one is allowed: then it is quicker to look at these alone


@dataclass(frozen=True, slots=True)
class Ask:
    """A query in terms of slots.

    Attributes:
        vector: (d,) float32, in C order.
        k: at least 1.
        exclude: slots.
        allow: slots; None = all.
    """

    vector: Vector
    k: int
    exclude: Numbers
    allow: Numbers | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """Candidates from one segment: the number of the query, slot, and vector (n, d) of each."""

    queries: Numbers
    slots: Numbers
    vectors: Matrix


def best_of_all(view: View, asks: Sequence[Ask], names: NamesOf) -> list[list[Hit]]:
    """The lists for queries without ``allow``, in their order."""
    vectors = np.stack([ask.vector for ask in asks])
    norms, k = norms_of(vectors), max(ask.k for ask in asks)

    def batch(hidden: Numbers, longest: float, rows: Sequence[Numbers]) -> Batch:
        by = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        flat = np.concatenate(rows) if len(rows) > 1 else rows[0]
        order = np.argsort(flat, kind="stable")
        return Batch(vectors, k, norms, longest, hidden, flat[order], by[order])

    rows = [view.main.rows_of(ask.exclude) for ask in asks]
    found = view.main.engine.find(batch(view.main_dead, view.main.longest, rows))
    parts = [_of_main(view, found)]
    if len(view.slots):
        rows = [np.array(view.delta.rows_of(ask.exclude, len(view.slots)), dtype=np.int64) for ask in asks]
        parts.append(_of_delta(view, scan(view.vectors, batch(view.delta_dead, view.longest, rows))))
    return _ranked(asks, vectors, parts, names)


def best_within(view: View, ask: Ask, names: NamesOf) -> list[Hit]:
    """The list for a query with ``allow``."""
    allow = np.setdiff1d(NONE if ask.allow is None else ask.allow, ask.exclude)
    vectors = ask.vector[None]
    norms, parts = norms_of(vectors), []
    for segment in (_allowed_of_main, _allowed_of_delta):
        rows, matrix, longest = segment(view, allow)
        found = _find_among(view, rows, matrix, Batch(vectors, ask.k, norms, longest, NONE, NONE, NONE))
        parts.append((_of_main if matrix is view.main.matrix else _of_delta)(view, found))
    return _ranked([ask], vectors, parts, names)[0]


def _allowed_of_main(view: View, slots: Numbers) -> tuple[Numbers, Matrix, float]:
    return without_rows(np.sort(view.main.rows_of(slots)), view.main_dead), view.main.matrix, view.main.longest


def _allowed_of_delta(view: View, slots: Numbers) -> tuple[Numbers, Matrix, float]:
    rows = np.sort(np.array(view.delta.rows_of(slots, len(view.slots)), dtype=np.int64))
    return without_rows(rows, view.delta_dead), view.vectors, view.longest


def _find_among(view: View, rows: Numbers, matrix: Matrix, batch: Batch) -> Found:
    """The best of some rows, ascending; the others are not looked at, or hidden."""
    if matrix is not view.main.matrix or len(rows) * _FEW <= len(matrix):
        found = scan(matrix[rows], batch)
        return Found(found.queries, rows[found.rows])
    hidden = np.ones(len(matrix), dtype=bool)
    hidden[rows] = False
    return view.main.engine.find(replace(batch, hidden=np.flatnonzero(hidden)))


def _of_main(view: View, found: Found) -> _Part:
    return _Part(found.queries, view.main.slots_of(found.rows), view.main.matrix[found.rows])


def _of_delta(view: View, found: Found) -> _Part:
    return _Part(found.queries, view.slots[found.rows], view.vectors[found.rows])


def _ranked(asks: Sequence[Ask], vectors: Matrix, parts: Sequence[_Part], names: NamesOf) -> list[list[Hit]]:
    """The candidates of all segments by exact score, best first, ties by id."""
    queries = np.concatenate([part.queries for part in parts])
    slots = np.concatenate([part.slots for part in parts])
    scores = exact_scores(np.concatenate([part.vectors for part in parts]), vectors[queries]) + 0.0  # no -0.0
    order = np.lexsort((-scores, queries))
    queries, slots, scores = queries[order], slots[order], scores[order]
    ties = set(queries[1:][(scores[1:] == scores[:-1]) & (queries[1:] == queries[:-1])].tolist())
    ends = np.searchsorted(queries, np.arange(len(asks) + 1)).tolist()
    lists = []
    for number, ask in enumerate(asks):
        first, last = ends[number], ends[number + 1]
        if number in ties:
            lists.append(best(names(slots[first:last].tolist()), scores[first:last], ask.k))
        else:
            last = min(last, first + ask.k)
            lists.append(list(map(Hit, names(slots[first:last].tolist()), scores[first:last].tolist())))
    return lists
