"""What is known of a user: a vector to search with, and what they have seen already."""

from dataclasses import dataclass

import numpy as np

from service.domain import Vector
from service.servable import Servable


@dataclass(frozen=True, slots=True)
class User:
    """A user the current model can serve personally.

    Attributes:
        vector: (d,) float32, of the same model version as the items it is compared with.
        seen: ids of the items the user has interacted with.
    """

    user_id: str
    vector: Vector
    seen: frozenset[str]


def find_user(servable: Servable, user_id: str) -> User | None:
    """The user as the model was trained on them; None where the model does not know them."""
    bundle = servable.bundle
    row = bundle.users.get(user_id)
    if row is None:
        return None
    seen = frozenset(bundle.items.id(item) for item in bundle.seen(row).tolist())
    return User(user_id, np.array(bundle.user_embeddings[row]), seen)
