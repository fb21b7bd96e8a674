"""Why an item stands in a list: which items of the history speak for it, and which of its own modalities."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.domain import LikedItem, Matrix, PutItem, Reasons, Suggestion, Vector
from service.errors import StorageUnavailable
from service.features import fitting
from service.ports import Journal
from service.queueing import give_up_if_late
from service.servable import Servable
from service.users import User

_MOST_LIKED = 3


class Explainer:
    """Explains the lists of one user.

    A user's vector is the sum of what each item of the history gives to it (``FoldInRule.parts``), so a score is the
    sum of what these items contribute. What a modality contributes is by how much the score falls when the item is
    encoded without it; items that stand by their clicks have none of that.

    Args:
        servable: the version that made the lists.
        journal: holds the features of items written online.
        user: whose lists; with a vector.
    """

    def __init__(self, servable: Servable, journal: Journal, user: User) -> None:
        self._servable = servable
        self._journal = journal
        self._user = user
        self._history = user.history
        self._parts = self._parts_of(self._history)

    def explained(self, items: Sequence[Suggestion]) -> list[Suggestion]:
        """The same items with their reasons."""
        explained = []
        for item in items:
            give_up_if_late()
            explained.append(item._replace(reasons=self._reasons(item.item_id)))
        return explained

    def _parts_of(self, history: Sequence[str]) -> Matrix | None:
        rule = self._servable.bundle.manifest.history
        rows = [self._servable.history_row(item_id) for item_id in history]
        known = [row for row in rows if row is not None]
        if rule is None or not known or len(known) < len(rows):
            return None
        return rule.parts(np.stack(known))

    def _reasons(self, item_id: str) -> Reasons:
        vector = self._servable.vector(item_id)
        return Reasons(() if vector is None else self._liked(vector), self._modalities(item_id))

    def _liked(self, vector: Vector) -> tuple[LikedItem, ...]:
        if self._parts is None:
            return ()
        scores = self._parts.astype(np.float64) @ vector  # sums of large products fit single precision no more
        best = [int(place) for place in np.argsort(-scores, kind="stable")[:_MOST_LIKED] if scores[place] > 0]
        history = self._history
        return tuple(
            LikedItem(history[place], self._servable.title(history[place]), float(scores[place])) for place in best
        )

    def _modalities(self, item_id: str) -> Mapping[str, float] | None:
        features = self._features(item_id)
        if features is None or self._user.vector is None:
            return None
        names = sorted(features)
        without = [{other: features[other] for other in names if other != name} for name in names]
        whole, *less = self._servable.encoder.encode([features, *without])
        user = self._user.vector.astype(np.float64)
        score = float(user @ whole.embedding)
        return {name: score - float(user @ each.embedding) for name, each in zip(names, less, strict=True)}

    def _features(self, item_id: str) -> Mapping[str, Vector] | None:
        """What the item was encoded from; None where it was not, or where it cannot be read now."""
        if not self._servable.stands_by_content(item_id):
            return None
        try:
            record = self._journal.find(item_id)
        except StorageUnavailable:
            return None
        if record is None or not isinstance(record.entry, PutItem):
            return None
        return fitting(self._servable, record.entry.item)
