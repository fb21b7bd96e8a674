"""What is known of a user: a vector to search with, and what they have consumed already.

A user is their history: what they did in the training data, and since then online. Where the model publishes how it
encodes histories (the manifest's rule), one that grew is encoded anew, exactly as in training; so an interaction counts
in the very next list, and users and sessions that the model has never met are served personally.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from service.domain import Vector
from service.servable import Servable


@dataclass(frozen=True, slots=True)
class User:
    """Somebody to recommend to.

    Attributes:
        vector: (d,) float32, of the same model version as the items it is compared with; None where nothing the user
            did means anything to the model.
        seen: ids of the items the user has interacted with.
        history: ids of the items that make the vector, oldest first, each once; empty where it was not made of items.
    """

    vector: Vector | None
    seen: frozenset[str]
    history: tuple[str, ...] = ()


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
    trained = [bundle.items.id(item) for item in bundle.seen(row).tolist()]
    seen = frozenset(trained).union(interactions)
    history = _telling_items(servable, [*trained, *interactions])
    told = any(map(servable.tells_of_users, interactions))
    folded = _fold_in(servable, history) if told else None
    if folded is not None:
        return User(folded, seen, history)
    return User(_telling(np.array(bundle.user_embeddings[row])), seen, history)


def session_user(servable: Servable, history: Sequence[str]) -> User:
    """Somebody without a name, known by a history (item ids, oldest first; unknown ones are passed over)."""
    telling = _telling_items(servable, history)
    return User(_fold_in(servable, telling), frozenset(history), telling)


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
    return _telling(rule.encode(np.stack(rows))) if rule is not None and rows else None


def _telling(vector: Vector) -> Vector | None:
    """None in place of a zero vector, to which all items are alike."""
    return vector if vector.any() else None
