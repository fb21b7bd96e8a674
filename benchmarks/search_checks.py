"""Whether an engine found what float64 says, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search_engines import Candidate
from benchmarks.search_questions import Answer, Matrix, Numbers, Question, true_scores

_CLOSE = 1e-9  # relative


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found.

    Attributes:
        recall: share of the k best that were found, of equal ones any; None where nothing is looked for.
        wrong: what contradicts the engine's promise; empty = nothing.
    """

    recall: float | None
    wrong: str


def check(
    matrix: Matrix, questions: Sequence[Question], right: Sequence[Sequence[Answer]], engine: Candidate, promise: str
) -> Checked:
    """Asks all questions once and compares with the right answers, each by the engine's promise."""
    if promise == "nothing":
        return Checked(None, "")
    recalls, wrong = [], ""
    longest = float(np.sqrt(np.einsum("ij,ij->i", matrix, matrix).max()))
    for question, answers in zip(questions, right, strict=True):
        found = engine.rows(engine.ask(question))
        for number, (rows, expected) in enumerate(zip(found, answers, strict=True)):
            query = question.vectors[number].astype(np.float64)
            scores = true_scores(matrix, rows, query)
            recalls.append(_recall(rows, scores, expected, question, number))
            slack = (len(query) + 2) * float(np.finfo(np.float32).eps) * longest * float(np.linalg.norm(query))
            wrong = wrong or _contradiction(rows, scores, expected, promise, slack)
            wrong = wrong or _forbidden(rows, question, number)
    return Checked(float(np.mean(recalls)), wrong)


def _recall(rows: Numbers, scores: np.ndarray, expected: Answer, question: Question, number: int) -> float:
    if not len(expected.rows):
        return 1.0
    least = float(expected.scores[-1])
    good = rows[scores >= least - _CLOSE * max(1.0, abs(least))]
    good = good[_shown(good, question, number)]
    return min(1.0, len(np.unique(good)) / len(expected.rows))


def _contradiction(rows: Numbers, scores: np.ndarray, expected: Answer, promise: str, slack: float) -> str:
    if promise == "none":
        return ""
    if len(rows) != len(expected.rows):
        return f"expected {len(expected.rows)} items, found {len(rows)}"
    if promise == "ids" and not np.array_equal(rows, expected.rows):
        place = int(np.flatnonzero(rows != expected.rows)[0])
        return f"expected row {expected.rows[place]} at place {place + 1}, found {rows[place]}"
    # Each place may hold what float32 takes for as good; both sides are rounded, hence twice.
    if len(rows) and float(np.abs(scores - expected.scores).max()) > 2 * slack:
        place = int(np.abs(scores - expected.scores).argmax())
        return f"expected a score of {expected.scores[place]:.7g} at place {place + 1}, found {scores[place]:.7g}"
    return ""


def _forbidden(rows: Numbers, question: Question, number: int) -> str:
    if len(np.unique(rows)) < len(rows):
        return "expected no item twice, found one"
    hidden = rows[~_shown(rows, question, number)]
    return f"expected no row {hidden[0]}, which is excluded or not allowed" if hidden.size else ""


def _shown(rows: Numbers, question: Question, number: int) -> np.ndarray:
    shown = np.ones(len(rows), dtype=bool)
    if question.excluded is not None:
        shown &= ~np.isin(rows, question.excluded[number])
    if question.allowed is not None:
        shown &= np.isin(rows, question.allowed)
    return shown
