"""What a list says of its items, at hand as it is sent: most lists are only that, and nobody spells them out."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, overload
from weakref import WeakKeyDictionary

import orjson

from service.domain import Suggestion
from service.label_sheet import Label, Sheet, parts_of
from service.paging import Shown, hash_of
from service.queries import Hit, Hits
from service.servable import Servable

MOST = 1 << 17
"""Items whose labels are at hand; some 0.1 KiB each."""

Others = list[Label | None] | None
"""Labels of a list's items that no sheet has; None where one has all of them."""

_LEFT_OPEN = b"\0"
_NOTHING = Shown()


class ListWriter:
    """Writes lists: their places as JSON, what orjson would write, and the cursor to what follows."""

    def listed(self, sheet: Sheet, rows: list[int], others: Others, scores: list[float]) -> tuple[bytes, str] | None:
        """The list of these rows; None where the sheet has not got all their labels.

        Args:
            sheet: has the labels of rows, ...
            rows: of which each is of this sheet, ...
            others: or has a label of its own at its place here.
            scores: theirs.
        """
        labels = others or [None] * len(rows)
        if sheet.missing(row for row, label in zip(rows, labels, strict=True) if label is None):
            return None
        parts = [parts_of(label or sheet.read(row)) for row, label in zip(rows, labels, strict=True)]
        return _places([place for _, place in parts], scores), _NOTHING.cursor_after([name for name, _ in parts])


class Places(Sequence[Suggestion]):
    """The places of a list, best first, that are spelled out only once somebody looks at them.

    Args:
        hits: the items.
        text: the places as they are sent, JSON.
        cursor: asks for what follows.
    """

    def __init__(self, hits: Hits, text: bytes, cursor: str) -> None:
        self._hits = hits
        self._text = text
        self._cursor = cursor

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the items."""
        return self._hits.ids

    def __len__(self) -> int:
        return len(self._hits)

    @overload
    def __getitem__(self, place: int) -> Suggestion: ...

    @overload
    def __getitem__(self, place: slice) -> list[Suggestion]: ...

    def __getitem__(self, place: int | slice) -> Suggestion | list[Suggestion]:
        return self._spelled_out[place]

    def __iter__(self) -> Iterator[Suggestion]:
        return iter(self._spelled_out)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._spelled_out == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list

    def cursor(self, shown: Shown) -> str:
        """What asks for what follows, these and those before them being shown."""
        return shown.and_these(self.ids).cursor() if shown.hashes else self._cursor

    def as_json(self) -> bytes:
        """The places as they are sent."""
        return self._text

    @cached_property
    def _spelled_out(self) -> list[Suggestion]:
        titles = [place["title"] for place in orjson.loads(self._text)]
        return list(map(Suggestion, self.ids, self._hits.scores, titles))


class _AtHand(NamedTuple):
    """Labels of one Servable's items."""

    trained: Sheet  # of which no record speaks, by row
    written: dict[str, tuple[int, Label]]  # by the record that spoke of them last


class Labels:
    """Labels of items, which are made anew only once another record speaks of them. Used on any thread.

    Args:
        writer: writes lists of them.
    """

    def __init__(self, writer: ListWriter | None = None) -> None:
        self._writer = writer or ListWriter()
        self._known: WeakKeyDictionary[Servable, _AtHand] = WeakKeyDictionary()

    def places(self, servable: Servable, hits: Sequence[Hit]) -> Places:
        """Places of these items of a Servable."""
        found = hits if isinstance(hits, Hits) else servable.numbered(hits)
        known = self._at_hand(servable)
        others = _written(servable, found, known.written)
        while (told := self._writer.listed(known.trained, found.slots, others, found.scores)) is None:
            own = others or [None] * len(found.slots)
            rows = [row for row, label in zip(found.slots, own, strict=True) if label is None]
            _learn(servable, rows, known.trained)
        return Places(found, *told)

    def learn(self, servable: Servable, rows: Sequence[int]) -> None:
        """Makes the labels of items of the bundle before anybody asks for them."""
        _learn(servable, rows, self._at_hand(servable).trained)

    def _at_hand(self, servable: Servable) -> _AtHand:
        known = self._known.get(servable)
        if known is None or len(known.trained) + len(known.written) > MOST:
            known = self._known[servable] = _AtHand(Sheet(len(servable.bundle.items)), {})
        return known


def _learn(servable: Servable, rows: Sequence[int], sheet: Sheet) -> None:
    if unknown := sheet.missing(rows):
        ids, titles = servable.bundle.items.ids(unknown), servable.trained_titles(unknown)
        sheet.write(unknown, map(label_of, ids, titles))


def _written(servable: Servable, found: Hits, known: dict[str, tuple[int, Label]]) -> Others:
    """Labels of those that do not hold as trained, at their places."""
    places = servable.written_among(found.slots)
    if not places:
        return None
    others: list[Label | None] = [None] * len(found.slots)
    for place, item_id in zip(places, found.ids_of([found.slots[place] for place in places]), strict=True):
        others[place] = _of_written(servable, item_id, known)
    return others


def _of_written(servable: Servable, item_id: str, known: dict[str, tuple[int, Label]]) -> Label:
    seq = servable.latest_seq(item_id)  # before what it says: what comes in between is looked up next time
    found = known.get(item_id)
    if found is None or found[0] != seq:
        found = known[item_id] = seq, label_of(item_id, servable.title(item_id))
    return found[1]


def label_of(item_id: str, title: str | None) -> Label:
    """What is said of an item."""
    place = b'{"item_id":%b,"score":%b,"title":%b}' % (orjson.dumps(item_id), _LEFT_OPEN, orjson.dumps(title))
    return hash_of(item_id) + place


def _places(places: list[bytes], scores: list[float]) -> bytes:
    n = len(places)
    if not n:
        return b"[]"
    parts = [b""] * (3 * n + 1)
    parts[::3] = b",".join(places).split(_LEFT_OPEN)
    parts[1::3] = orjson.dumps(scores)[1:-1].split(b",")
    parts[2::3] = _ranks(n)
    return b"[%b]" % b"".join(parts)


@lru_cache(maxsize=64)
def _ranks(n: int) -> list[bytes]:
    return [b',"rank":%d' % rank for rank in range(1, n + 1)]
