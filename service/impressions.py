"""What lists show is counted: for the metrics, for the new items' chance, for the share of the catalogue in use."""

from service.domain import Recommendation
from service.handle import ServableHandle
from service.labels import Places
from service.lists import Wish
from service.metrics import Metrics
from service.servable import Servable
from service.shadow import Shadow


class Impressions:
    """Counts the lists that are given.

    Args:
        handle: says which arm a user is in.
        metrics: of the app.
        shadow: is offered the lists of users.
    """

    def __init__(self, handle: ServableHandle, metrics: Metrics, shadow: Shadow) -> None:
        self._handle = handle
        self._metrics = metrics
        self._shadow = shadow

    def count(self, answer: Recommendation, new: int) -> None:
        """Counts a list and its places, of which so many show new items."""
        self._metrics.shown.count(new, len(answer.items) - new)
        self._metrics.count_list(answer.strategy)

    def count_arm(self, user_id: str, wish: Wish, answer: Recommendation) -> None:
        """Counts a list for a user in their arm, and offers it for comparison; on the event loop."""
        self._metrics.count_arm(self._handle.arm_of(user_id))
        self._shadow.offer(user_id, wish, answer)


def note_shown(servable: Servable, answer: Recommendation) -> int:
    """Notes that a list's items are shown; returns how many of them are new."""
    item_ids = answer.items.ids if isinstance(answer.items, Places) else [item.item_id for item in answer.items]
    servable.coverage.note(servable.bundle.items.known_rows(item_ids))
    return servable.newcomers.note_shown(item_ids)
