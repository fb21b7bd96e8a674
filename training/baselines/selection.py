"""How a baseline's hyper-parameters are chosen: by validation, never by test."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from training.models.contract import Embeddings, Recommender, TrainingData

Validate = Callable[[Embeddings], float]
"""Validation recall@20 of a candidate's tables."""

Fit = Callable[[TrainingData, Validate, int], Recommender]
"""``fit(data, validate, seed)``: fits a baseline and chooses its hyper-parameters by ``validate``."""

R = TypeVar("R", bound=Recommender)


def select(candidates: Iterable[R], validate: Validate) -> R:
    """The candidate that validates best, the earlier one of equals: a grid's first entry is its default.

    Where candidates are generated, no more than two exist at a time.
    """
    return max(candidates, key=lambda candidate: validate(candidate.embeddings()))
