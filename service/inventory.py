"""The read use case of operators: what is in the catalogue, piece by piece, all of it."""

import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from anyio import CapacityLimiter

from service.domain import CatalogItem, PutItem, Vector, item_of
from service.errors import InvalidCursor
from service.features import fitting
from service.handle import ServableHandle
from service.peers import Peers
from service.ports import Journal
from service.queueing import in_thread
from service.servable import Servable
from service.trained import trained_features

_TRAINED, _WRITTEN = "t", "w"
_SEQ = re.compile(r"0|[1-9][0-9]{0,17}")
_ON_ITS_WAY = timedelta(minutes=1)  # into the index: what is not there by then was refused, and the next start has it
_LOOK_AT = 10  # times the page's length: so many records of items that are gone are passed over for one page


@dataclass(frozen=True, slots=True)
class Page:
    """Some items.

    Attributes:
        items: their features are in ``item.modalities`` where they were asked for, as far as the model can use them.
        next_cursor: asks for what follows; None where nothing does.
    """

    items: Sequence[CatalogItem]
    next_cursor: str | None


class Inventory:
    """Lists items, shown or not: first those only the model knows, by id, then the others as they were written last.

    An item that is written while somebody goes through the pages comes (again) towards the end; none is left out, but
    where another model comes to serve meanwhile, what only that one knows may be.

    Args:
        handle: says which version serves.
        journal: holds the features of items written online.
        searches: shared with the lists.
        max_waiting: how many may wait for them.
        peers: who else writes the journal.
        clock: the time.
    """

    def __init__(
        self,
        handle: ServableHandle,
        journal: Journal,
        searches: CapacityLimiter,
        max_waiting: int = 200,
        peers: Peers | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._handle = handle
        self._journal = journal
        self._searches = searches
        self._max_waiting = max_waiting
        self._peers = peers or Peers()
        self._clock = clock

    async def page(self, limit: int, cursor: str | None = None, *, features: bool = False) -> Page:
        """The items after a cursor, at most ``limit``; fewer, even none, do not mean that these were the last.

        Raises:
            ModelUnavailable: nothing serves.
            InvalidCursor: the cursor is none of ours.
            Overloaded: too many wait already.
            StorageUnavailable: the journal cannot be read.
        """
        kind, place = _read_cursor(cursor)
        servable = self._handle.current

        def look() -> Page:
            if kind == _WRITTEN:
                return self._written(servable, int(place), limit, features=features)
            items, cursor = _trained(servable, place, limit, features=features)
            if cursor:
                return Page(items, cursor)
            rest = self._written(servable, 0, limit - len(items), features=features)
            return Page([*items, *rest.items], rest.next_cursor)

        await self._peers.catch_up()
        return await in_thread(look, self._searches, self._max_waiting)

    def _written(self, servable: Servable, after: int, limit: int, *, features: bool) -> Page:
        items: list[CatalogItem] = []
        for looked_at, record in enumerate(self._journal.latest(after), start=1):
            item_id = item_of(record.entry)
            if item_id is None or (
                servable.latest_seq(item_id) < record.seq and self._clock() - record.at < _ON_ITS_WAY
            ):
                break  # whoever asks again finds it
            after = record.seq
            if isinstance(record.entry, PutItem) and (found := servable.get(item_id)):
                items.append(_with(found, fitting(servable, servable.described(record.entry.item)) if features else {}))
            if len(items) == limit or looked_at == _LOOK_AT * limit:
                break
        else:
            return Page(items, None)
        return Page(items, _cursor(_WRITTEN, str(after)))


def _trained(servable: Servable, after: str, limit: int, *, features: bool) -> tuple[list[CatalogItem], str | None]:
    """The items only the model knows, at most ``limit``, and the cursor to more of them."""
    rows: Iterator[tuple[str, int]] = servable.untouched(after)
    items, last = [], after
    for item_id, row in islice(rows, limit):
        found, last = servable.get(item_id), item_id
        if found and not found.seq:  # otherwise it was written just now, and comes later
            items.append(_with(found, trained_features(servable.bundle, row) if features else {}))
    ended = len(items) < limit and next(servable.untouched(last), None) is None
    return items, None if ended else _cursor(_TRAINED, last)


def _with(found: CatalogItem, modalities: Mapping[str, Vector]) -> CatalogItem:
    return found._replace(item=found.item._replace(modalities=modalities))


def _cursor(kind: str, place: str) -> str:
    return urlsafe_b64encode((kind + place).encode()).decode().rstrip("=")


def _read_cursor(cursor: str | None) -> tuple[str, str]:
    if cursor is None:
        return _TRAINED, ""
    try:
        text = b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except ValueError as exc:
        raise InvalidCursor("expected a cursor as it was given") from exc
    kind, place = text[:1], text[1:]
    known = kind == _TRAINED or (kind == _WRITTEN and _SEQ.fullmatch(place))
    if known and _cursor(kind, place) == cursor:
        return kind, place
    raise InvalidCursor("expected a cursor as it was given")
