"""Equations that a setting may leave without a solution in floating point."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from training.errors import NotFinite

Real = TypeVar("Real", bound=np.floating[Any])


def solved(solve: Callable[[], NDArray[Real]], what: str, advice: str) -> NDArray[Real]:
    """What ``solve`` returns.

    Args:
        solve: solves systems of equations.
        what: it solves for.
        advice: what to change where it cannot.

    Raises:
        NotFinite: there is no solution, or not in finite numbers.
    """
    try:
        with np.errstate(all="ignore"):  # the error says it
            found = solve()
    except np.linalg.LinAlgError as exc:
        raise NotFinite(what, advice) from exc
    if not np.isfinite(found).all():
        raise NotFinite(what, advice)
    return found
