"""What a list says of its items, at hand as it is sent: most lists are only that, and nobody spells them out."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, overload
from weakref import WeakKeyDictionary

import orjson

from service.domain import Suggestion
from service.paging import Shown, hash_of
from service.queries import Hit, Hits
from service.servable import Servable

MOST = 1 << 17
"""Items whose labels are at hand; some 0.3 KiB each."""


Label = tuple[bytes, bytes]
"""What is always said of an item: the JSON of its place in a list, with score and rank left open, and the hash that
cursors name it by. Plain tuples are out of sight of collections of garbage."""

_LEFT_OPEN = b"\0"  # a byte that no JSON has
_NOTHING = Shown()


class ListWriter:
    """Writes lists, of labels."""

    def places(self, labels: list[Label], scores: list[float]) -> bytes:
        """The places of a list as JSON: what orjson would write."""
        n = len(labels)
        if not n:
            return b"[]"
        parts = [b""] * (3 * n + 1)
        parts[::3] = b",".join([label[0] for label in labels]).split(_LEFT_OPEN)
        parts[1::3] = orjson.dumps(scores)[1:-1].split(b",")
        parts[2::3] = _ranks(n)
        return b"[%b]" % b"".join(parts)

    def cursor(self, labels: list[Label]) -> str:
        """The cursor of a first page."""
        return _NOTHING.cursor_after([label[1] for label in labels])


class Places(Sequence[Suggestion]):
    """The places of a list, best first, that are spelled out only once somebody looks at them.

    Args:
        hits: the items.
        labels: theirs.
        writer: writes them.
    """

    def __init__(self, hits: Hits, labels: list[Label], writer: ListWriter) -> None:
        self._hits = hits
        self._labels = labels
        self._writer = writer

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the items."""
        return self._hits.ids

    def __len__(self) -> int:
        return len(self._labels)

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
        if not shown.hashes:
            return self._writer.cursor(self._labels)
        return shown.cursor_after([label[1] for label in self._labels])

    def as_json(self) -> bytes:
        """The places as they are sent."""
        return self._writer.places(self._labels, self._hits.scores)

    @cached_property
    def _spelled_out(self) -> list[Suggestion]:
        titles = [place["title"] for place in orjson.loads(self.as_json())]
        return list(map(Suggestion, self.ids, self._hits.scores, titles))


class _AtHand(NamedTuple):
    """Labels of one Servable's items."""

    trained: dict[int, Label]  # of which no record speaks, by row
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
        return Places(found, self.of(servable, found), self._writer)

    def of(self, servable: Servable, found: Hits) -> list[Label]:
        """The labels of items of a Servable, in their order."""
        known = self._at_hand(servable)
        if servable.only_trained(found.slots):
            return _of_trained(servable, found.slots, known.trained)
        trained = [slot for slot in found.slots if servable.as_trained(slot)]
        written = [slot for slot in found.slots if not servable.as_trained(slot)]
        labels = dict(zip(trained, _of_trained(servable, trained, known.trained), strict=True))
        for slot, item_id in zip(written, found.ids_of(written), strict=True):
            labels[slot] = _of_written(servable, item_id, known.written)
        return [labels[slot] for slot in found.slots]

    def learn(self, servable: Servable, rows: Sequence[int]) -> None:
        """Makes the labels of items of the bundle before anybody asks for them."""
        _of_trained(servable, rows, self._at_hand(servable).trained)

    def _at_hand(self, servable: Servable) -> _AtHand:
        known = self._known.get(servable)
        if known is None or len(known.trained) + len(known.written) > MOST:
            known = self._known[servable] = _AtHand({}, {})
        return known


def _of_trained(servable: Servable, rows: Sequence[int], known: dict[int, Label]) -> list[Label]:
    labels = list(map(known.get, rows))
    if None not in labels:
        return labels  # type: ignore[return-value]  # as was just seen
    unknown = [row for row in rows if row not in known]
    ids, titles = servable.bundle.items.ids(unknown), servable.trained_titles(unknown)
    known.update(zip(unknown, map(label_of, ids, titles), strict=True))
    return [known[row] for row in rows]


def _of_written(servable: Servable, item_id: str, known: dict[str, tuple[int, Label]]) -> Label:
    seq = servable.latest_seq(item_id)  # before what it says: what comes in between is looked up next time
    found = known.get(item_id)
    if found is None or found[0] != seq:
        found = known[item_id] = seq, label_of(item_id, servable.title(item_id))
    return found[1]


def label_of(item_id: str, title: str | None) -> Label:
    """What is said of an item."""
    place = b'{"item_id":%b,"score":%b,"title":%b}' % (orjson.dumps(item_id), _LEFT_OPEN, orjson.dumps(title))
    return place, hash_of(item_id)


@lru_cache(maxsize=64)
def _ranks(n: int) -> list[bytes]:
    return [b',"rank":%d' % rank for rank in range(1, n + 1)]
