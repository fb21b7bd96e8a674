"""Answering queries from one view of an index: candidates of each segment, exact scores, exact order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.adapters.exact_scan import Batch, Found, Numbers, scan
from service.adapters.ranked import Ask, NamesOf, Ranked, sort_ties
from service.adapters.ranking import exact_scores_of, in_order, norms_of
from service.adapters.segments import NONE, Main, View
from service.domain import Matrix

_FEW = 8  # of so many rows or more one is allowed: then it is quicker to look at these alone


@dataclass(frozen=True, slots=True)
class _Part:
    """Candidates from one segment: the number of the query, slot and exact score of each."""

    queries: Numbers
    slots: Numbers
    scores: NDArray[np.float64]


def best_of_all(view: View, asks: Sequence[Ask], names: NamesOf) -> list[Ranked]:
    """What is best for queries without ``allow``, in their order."""
    found = view.main.engine.search(view, asks, names)
    left = [number for number, ranked in enumerate(found) if ranked is None]
    parts = dict(zip(left, _best_of_parts(view, [asks[number] for number in left], names), strict=True)) if left else {}
    return [parts[number] if ranked is None else ranked for number, ranked in enumerate(found)]


def _best_of_parts(view: View, asks: Sequence[Ask], names: NamesOf) -> list[Ranked]:
    """The same, step by step: candidates of each segment, their exact scores, their order."""
    vectors = np.stack([ask.vector for ask in asks])
    norms, k = norms_of(vectors), max(ask.k for ask in asks)
    slots = np.concatenate([ask.exclude for ask in asks])
    by = np.repeat(np.arange(len(asks)), [len(ask.exclude) for ask in asks])

    def batch(hidden: Numbers, longest: float, rows: Numbers, by: Numbers) -> Batch:
        order = np.argsort(rows)
        return Batch(vectors, k, norms, longest, hidden, rows[order], by[order])

    rows, places = view.main.rows_of(slots)
    found = view.main.engine.find(batch(view.main_dead, view.main.longest, rows, by[places]))
    parts = [_of_main(view, vectors, found)]
    if len(view.slots):
        rows, places = view.delta.rows_of(slots, len(view.slots))
        found = scan(view.vectors, batch(view.delta_dead, view.longest, rows, by[places]))
        parts.append(_of_delta(view, vectors, found))
    return _ranked(asks, parts, names)


def best_within(view: View, ask: Ask, names: NamesOf) -> Ranked:
    """What is best for a query with ``allow``."""
    allow, vectors = NONE if ask.allow is None else ask.allow, ask.vector[None]
    all_of_main = Batch(vectors, ask.k, norms_of(vectors), view.main.longest, NONE, NONE, NONE)
    rows = _among(len(view.main), view.main.rows_of(allow)[0], view.main.rows_of(ask.exclude)[0], view.main_dead)
    parts = [_of_main(view, vectors, _find_among(rows, view.main, all_of_main))]
    if n := len(view.slots):
        rows = _among(n, view.delta.rows_of(allow, n)[0], view.delta.rows_of(ask.exclude, n)[0], view.delta_dead)
        found = _scan_some(rows, view.vectors, replace(all_of_main, longest=view.longest))
        parts.append(_of_delta(view, vectors, found))
    return _ranked([ask], parts, names)[0]


def _among(n: int, allow: Numbers, *hidden: Numbers) -> NDArray[np.bool_]:
    """(n,) which rows are allowed, and not hidden by any of these."""
    among = np.zeros(n, dtype=bool)
    among[allow] = True
    for rows in hidden:
        among[rows] = False
    return among


def _find_among(among: NDArray[np.bool_], main: Main, batch: Batch) -> Found:
    """The best of some rows of the main segment; the others are not looked at, or hidden."""
    if np.count_nonzero(among) * _FEW <= len(main):
        return _scan_some(among, main.matrix, batch)
    return main.engine.find(replace(batch, hidden=np.flatnonzero(~among)))


def _scan_some(among: NDArray[np.bool_], matrix: Matrix, batch: Batch) -> Found:
    rows = np.flatnonzero(among)
    found = scan(matrix[rows], batch)
    return Found(found.queries, rows[found.rows])


def _of_main(view: View, vectors: Matrix, found: Found) -> _Part:
    scores = exact_scores_of(view.main.matrix, found.rows, vectors, found.queries)
    return _Part(found.queries, view.main.slots_of(found.rows), scores)


def _of_delta(view: View, vectors: Matrix, found: Found) -> _Part:
    scores = exact_scores_of(view.vectors, found.rows, vectors, found.queries)
    return _Part(found.queries, view.slots[found.rows], scores)


def _ranked(asks: Sequence[Ask], parts: Sequence[_Part], names: NamesOf) -> list[Ranked]:
    """The candidates of all segments by exact score, best first, ties by id."""
    all_queries, all_slots, all_scores = _joined(parts, len(asks))
    order = in_order(all_queries, all_scores, max(ask.k for ask in asks), len(asks))
    queries, slots, scores = all_queries[order], all_slots[order], all_scores[order] + 0.0  # no -0.0
    sort_ties(slots, ((scores[1:] == scores[:-1]) & (queries[1:] == queries[:-1])).nonzero()[0].tolist(), names)
    ends = np.searchsorted(queries, np.arange(len(asks) + 1)).tolist()
    places = [slice(first, min(last, first + ask.k)) for ask, first, last in zip(asks, ends, ends[1:], strict=False)]
    return [Ranked(slots[place], scores[place]) for place in places]


def _joined(parts: Sequence[_Part], b: int) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
    """Queries, ascending, slots and scores of all candidates."""
    queries, slots, scores = parts[0].queries, parts[0].slots, parts[0].scores
    if len(parts) > 1:
        queries = np.concatenate([part.queries for part in parts])
        slots = np.concatenate([part.slots for part in parts])
        scores = np.concatenate([part.scores for part in parts])
    if b == 1:
        return queries, slots, scores
    order = np.argsort(queries, kind="stable")
    return queries[order], slots[order], scores[order]
