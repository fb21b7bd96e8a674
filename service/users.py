"""What is known of a user: a vector to search with, and what they have consumed already.

A user is their history: what they did in the training data, and since then online. Where the model publishes how it
encodes histories (the manifest's rule), one that grew is encoded anew, exactly as in training; so an interaction counts
in the very next list, and users and sessions that the model has never met are served personally.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.domain import Vector
from service.servable import Servable

_NO_ROWS: NDArray[np.int32] = np.empty(0, dtype=np.int32)
_FEW = 50  # items, which make a vector of 256 numbers within a millisecond


class User(NamedTuple):
    """Somebody to recommend to.

    Attributes:
        servable: the model version that knows them.
        vector: (d,) float32, of the same model version as the items it is compared with; None where nothing the user
            did means anything to the model.
        interactions: items of what they did online, or in the session, oldest first.
        trained: rows of the bundle's items they had to do with in the training data, oldest first.
    """

    servable: Servable
    vector: Vector | None
    interactions: Sequence[str] = ()
    trained: NDArray[np.int32] = _NO_ROWS

    @property
    def seen(self) -> frozenset[str]:
        """Ids of all items the user has interacted with."""
        return frozenset(self._trained_ids).union(self.interactions)

    @property
    def history(self) -> tuple[str, ...]:
        """Ids of the items that make the vector, oldest first, each once; empty where it was not made of items."""
        return _telling_items(self.servable, [*self._trained_ids, *self.interactions])

    @property
    def _trained_ids(self) -> list[str]:
        return self.servable.bundle.items.ids(self.trained.tolist())


def find_user(servable: Servable, user_id: str, interactions: Sequence[str]) -> User | None:
    """A user by id; None where neither the model nor the journal knows them.

    Args:
        servable: the model version that serves.
        user_id: whom.
        interactions: the items of their online interactions, oldest first.
    """
    bundle = servable.bundle
    row = bundle.users.get(user_id)
    if row is None:
        return session_user(servable, interactions) if interactions else None
    trained = servable.seen(row)
    told = interactions and _tell_more(servable, interactions, trained)
    folded = _fold_in(servable, User(servable, None, interactions, trained).history) if told else None
    vector = _telling(servable.user_vector(row)) if folded is None else folded
    return User(servable, vector, interactions, trained)


def found_at_once(servable: Servable, user_id: str, interactions: Sequence[str]) -> bool:
    """Whether ``find_user`` takes no time: there is a vector, or it is made of few items."""
    if not interactions:
        return True
    row = servable.bundle.users.get(user_id)
    return len(interactions) + (0 if row is None else len(servable.seen(row))) <= _FEW


def known_user(servable: Servable, user_id: str, interactions: Sequence[str], vector: Vector) -> User:
    """A user whose vector was found before, with the same interactions."""
    row = servable.bundle.users.get(user_id)
    return User(servable, vector, interactions, _NO_ROWS if row is None else servable.seen(row))


def _tell_more(servable: Servable, interactions: Iterable[str], trained: NDArray[np.int32]) -> bool:
    """Whether interactions tell of a user what the model was not trained with, as they may be part of that by now."""
    row_of, known = servable.bundle.items.get, set(trained.tolist())
    return any(servable.tells_of_users(item_id) and row_of(item_id) not in known for item_id in interactions)


def session_user(servable: Servable, history: Sequence[str]) -> User:
    """Somebody without a name, known by a history (item ids, oldest first; unknown ones are passed over)."""
    return User(servable, _fold_in(servable, _telling_items(servable, history)), history)


def _telling_items(servable: Servable, history: Iterable[str]) -> tuple[str, ...]:
    """The latest items of a history, each once, at its latest place, that mean something to the model."""
    rule = servable.bundle.manifest.history
    if rule is None:
        return ()
    latest = dict.fromkeys(reversed(list(history)))
    return tuple(islice(filter(servable.tells_of_users, latest), rule.max_items))[::-1]


def _fold_in(servable: Servable, history: Sequence[str]) -> Vector | None:
    rule = servable.bundle.manifest.history
    rows = [row for item_id in history if (row := servable.history_row(item_id)) is not None]
    if rule is None or not rows:
        return None
    with np.errstate(over="ignore"):
        folded = rule.encode(np.stack(rows))
    # Rows that are each finite may add up to more than numbers of single precision can hold.
    return _telling(folded) if np.isfinite(folded).all() else None


def _telling(vector: Vector) -> Vector | None:
    """None in place of a zero vector, to which all items are alike."""
    return vector if vector.item(0) or vector.any() else None  # mostly the first number tells
