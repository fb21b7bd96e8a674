"""What a list says of its items beside their scores, at hand: titles, and the hashes that cursors name them by."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from service.paging import hash_of
from service.servable import Servable

_MOST = 1 << 17  # items, some 0.2 KiB each
_Label = tuple[str | None, bytes]


class Labels:
    """Titles and hashes of items; those of which no record speaks are looked up once. Used on any thread."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Servable, dict[str, _Label]] = WeakKeyDictionary()

    def of(self, servable: Servable, item_ids: Sequence[str]) -> tuple[Sequence[str | None], Sequence[bytes]]:
        """The titles and the hashes of items of a Servable, in their order."""
        if not servable.only_trained(item_ids):
            return servable.titles(item_ids), list(map(hash_of, item_ids))
        known = self._known.get(servable)
        if known is None or len(known) > _MOST:
            known = self._known[servable] = {}
        labels = [label for label in map(known.get, item_ids) if label]
        if len(labels) < len(item_ids):
            labels = list(zip(servable.titles(item_ids), map(hash_of, item_ids), strict=True))
            known.update(zip(item_ids, labels, strict=True))
        return [title for title, _ in labels], [each for _, each in labels]
