"""The engines that are compared: ours, and what others offer; each answers the same questions."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from benchmarks.search_peers import Hnswlib, Usearch, faiss_flat, faiss_graph, faiss_lists
from benchmarks.search_questions import Matrix, Numbers, Question
from service.adapters.integer_engine import IntegerEngine
from service.adapters.segmented_index import SegmentedIndex
from service.adapters.segments import Engine, ExactEngine
from service.queries import Query

REFERENCE = "FAISS flat"
FLOOR = "reading once"
_TOGETHER = 32  # queries whose scores numpy holds at once
_FEW = 8  # of so many rows or more one is allowed: then numpy takes these out first
_CHURN = 20  # one of so many items is in the delta, and as many are gone


class Candidate(Protocol):
    """An engine that holds vectors. What ``ask`` does is timed, what ``rows`` does is not."""

    def ask(self, question: Question) -> Any:
        """The answer, in the engine's own form."""
        ...

    def rows(self, found: Any) -> Sequence[Numbers]:
        """The rows of each query in that answer, best first."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """How to make an engine, and what may be asked of it.

    Attributes:
        make: from the vectors, the names and a number of threads.
        promise: "ids" = exactly the right ids in the right order, "scores" = right up to the rounding of float32,
            "none" = what it misses is its recall.
        answers: whether it is of use for such a question.
        keeps: whether it keeps the vectors it is given, in place of a copy.
        slow: whether making it takes minutes for a million items.
    """

    make: Callable[[Matrix, Sequence[str], int], Candidate]
    promise: str
    answers: Callable[[Question], bool] = lambda _: True
    keeps: bool = False
    slow: bool = False


class Ours:
    """A SegmentedIndex; what is excluded or allowed is given as ids, or as rows, as the service gives histories."""

    def __init__(self, index: SegmentedIndex, *, by_row: bool = False) -> None:
        self._index = index
        self._by_row = by_row

    def ask(self, question: Question) -> Any:
        """Lists of hits."""
        names = [()] * len(question.vectors) if self._by_row or not question.excluded else question.excluded_names
        rows = question.excluded if self._by_row and question.excluded else [None] * len(question.vectors)
        asked = zip(question.vectors, names, rows, strict=True)
        allow = None if self._by_row else question.allowed_names
        allow_rows = question.allowed if self._by_row else None
        return self._index.search_many([Query(v, question.k, n, allow, r, allow_rows=allow_rows) for v, n, r in asked])

    def rows(self, found: Any) -> Sequence[Numbers]:
        """Names end in the number of their row."""
        return [np.array([int(hit.item_id.rpartition("-")[2]) for hit in hits], dtype=np.int64) for hits in found]


class Numpy:
    """A matrix product and argpartition."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    def ask(self, question: Question) -> Any:
        """One array of rows for each query."""
        if question.allowed is not None and len(question.allowed) * _FEW <= len(self._matrix):
            found = self._best(self._matrix[question.allowed] @ question.vectors.T, question.k)
            return [question.allowed[rows] for rows in found]
        answers = []
        for start in range(0, len(question.vectors), _TOGETHER):
            scores = question.vectors[start : start + _TOGETHER] @ self._matrix.T
            for number, excluded in enumerate((question.excluded or ())[start : start + _TOGETHER]):
                scores[number, excluded] = -np.inf
            if question.allowed is not None:
                scores[:, np.setdiff1d(np.arange(len(self._matrix)), question.allowed, assume_unique=True)] = -np.inf
            answers += self._best(scores.T, question.k)
        return answers

    def rows(self, found: Any) -> Sequence[Numbers]:
        """They are rows."""
        answers: list[Numbers] = found
        return answers

    @staticmethod
    def _best(scores: Matrix, k: int) -> list[Numbers]:
        answers = []
        for each in scores.T:
            rows = np.argpartition(each, -k)[-k:] if k < len(each) else np.arange(len(each))
            answers.append(rows[np.argsort(-each[rows], kind="stable")])
        return answers


class ReadingOnce:
    """Answers nothing: the largest number of the matrix, for which each must come from memory once."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix

    def ask(self, question: Question) -> Any:
        """The largest number."""
        del question
        return self._matrix.max()

    def rows(self, found: Any) -> Sequence[Numbers]:
        """None."""
        del found
        return []


def int8(threads: int) -> Callable[[Matrix], Engine]:
    """Makes the engine that the service uses."""
    return lambda matrix: IntegerEngine(matrix, threads=threads)


def churned(matrix: Matrix, names: Sequence[str], make_engine: Callable[[Matrix], Engine]) -> SegmentedIndex:
    """The same items, the last 5 % of them in the delta, after as many others that are gone."""
    some = len(matrix) // _CHURN
    end = len(matrix) - some
    main = np.concatenate([matrix[:some], matrix[:end]])
    gone = [f"gone-{number}" for number in range(some)]
    index = SegmentedIndex([*gone, *names[:end]], main, make_engine=make_engine)
    index.upsert(names[end:], matrix[end:])
    index.remove(gone)
    index.settle()
    return index


def _plain(question: Question) -> bool:
    return question.excluded is None and question.allowed is None


def _restricted(question: Question) -> bool:
    return not _plain(question)


def _single(question: Question) -> bool:
    return len(question.vectors) == 1


def kinds() -> Mapping[str, Kind]:
    """Those that can be made here, by name."""
    found = {
        REFERENCE: Kind(lambda m, _, t: faiss_flat(m, t), "scores"),
        "ours, int8": Kind(lambda m, names, t: Ours(SegmentedIndex(names, m, make_engine=int8(t))), "ids", keeps=True),
        "ours, exact": Kind(lambda m, names, _: Ours(SegmentedIndex(names, m)), "ids", keeps=True),
        "ours, int8, by row": Kind(
            lambda m, names, t: Ours(SegmentedIndex(names, m, make_engine=int8(t)), by_row=True),
            "ids",
            _restricted,
            keeps=True,
        ),
        "ours, int8, churned": Kind(lambda m, names, t: Ours(churned(m, names, int8(t))), "ids"),
        "ours, exact, churned": Kind(lambda m, names, _: Ours(churned(m, names, ExactEngine)), "ids"),
        "numpy": Kind(lambda m, *_: Numpy(m), "scores", keeps=True),
        FLOOR: Kind(lambda m, *_: ReadingOnce(m), "nothing", _single, keeps=True),
        "FAISS IVF": Kind(lambda m, _, t: faiss_lists(m, t), "none"),
        "FAISS HNSW": Kind(lambda m, _, t: faiss_graph(m, t), "none", slow=True),
    }
    if importlib.util.find_spec("hnswlib"):
        found["hnswlib"] = Kind(lambda m, _, t: Hnswlib(m, t), "none", _plain, slow=True)
    if importlib.util.find_spec("usearch"):
        found["usearch"] = Kind(lambda m, _, t: Usearch(m, t), "none", _plain, slow=True)
    return found
