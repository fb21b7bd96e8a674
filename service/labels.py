"""What a list says of its items, at hand as it is sent: most lists are only that, and nobody spells them out."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple, overload
from weakref import WeakKeyDictionary

import orjson

from service.domain import Suggestion
from service.paging import hash_of
from service.servable import Servable

MOST = 1 << 17
"""Items whose labels are at hand; some 0.3 KiB each."""


Label = tuple[bytes, bytes]
"""What is always said of an item: the JSON of its place in a list, with score and rank left open, and the hash that
cursors name it by. Plain tuples are out of sight of collections of garbage."""

_LEFT_OPEN = b"\0"  # a byte that no JSON has


class Places(Sequence[Suggestion]):
    """The places of a list, best first, that are spelled out only once somebody looks at them.

    Args:
        ids: of the items.
        scores: theirs.
        labels: theirs.
    """

    def __init__(self, ids: Sequence[str], scores: Sequence[float], labels: Sequence[Label]) -> None:
        self.ids = ids
        self._scores = scores
        self._labels = labels

    def __len__(self) -> int:
        return len(self.ids)

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

    @property
    def hashes(self) -> list[bytes]:
        """What cursors name the items by, in their order."""
        return [label[1] for label in self._labels]

    def as_json(self) -> bytes:
        """The places as they are sent: what orjson would write."""
        n = len(self.ids)
        if not n:
            return b"[]"
        parts = [b""] * (3 * n + 1)
        parts[::3] = b",".join([label[0] for label in self._labels]).split(_LEFT_OPEN)
        parts[1::3] = orjson.dumps(self._scores)[1:-1].split(b",")
        parts[2::3] = _ranks(n)
        return b"[%b]" % b"".join(parts)

    @cached_property
    def _spelled_out(self) -> list[Suggestion]:
        titles = [place["title"] for place in orjson.loads(self.as_json())]
        return list(map(Suggestion, self.ids, self._scores, titles))


class _AtHand(NamedTuple):
    """Labels of one Servable's items."""

    trained: dict[str, Label]  # of which no record speaks
    written: dict[str, tuple[int, Label]]  # by the record that spoke of them last


class Labels:
    """Labels of items, which are made anew only once another record speaks of them. Used on any thread."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Servable, _AtHand] = WeakKeyDictionary()

    def of(self, servable: Servable, item_ids: Sequence[str]) -> list[Label]:
        """The labels of items of a Servable, in their order."""
        known, written = self._at_hand(servable), servable.written_among(item_ids)
        if not written:
            return _of_trained(servable, item_ids, known.trained)
        labels = {each: _of_written(servable, each, known.written) for each in written}
        trained = [each for each in item_ids if each not in labels]
        labels.update(zip(trained, _of_trained(servable, trained, known.trained), strict=True))
        return [labels[each] for each in item_ids]

    def learn(self, servable: Servable, item_ids: Sequence[str]) -> None:
        """Makes the labels of items of the bundle before anybody asks for them."""
        _of_trained(servable, item_ids, self._at_hand(servable).trained)

    def _at_hand(self, servable: Servable) -> _AtHand:
        known = self._known.get(servable)
        if known is None or len(known.trained) + len(known.written) > MOST:
            known = self._known[servable] = _AtHand({}, {})
        return known


def _of_trained(servable: Servable, item_ids: Sequence[str], known: dict[str, Label]) -> list[Label]:
    labels = [label for label in map(known.get, item_ids) if label]
    if len(labels) == len(item_ids):
        return labels
    unknown = [each for each in item_ids if each not in known]
    known.update(zip(unknown, map(_label, unknown, servable.titles(unknown)), strict=True))
    return [known[each] for each in item_ids]


def _of_written(servable: Servable, item_id: str, known: dict[str, tuple[int, Label]]) -> Label:
    seq = servable.latest_seq(item_id)  # before what it says: what comes in between is looked up next time
    found = known.get(item_id)
    if found is None or found[0] != seq:
        found = known[item_id] = seq, _label(item_id, servable.title(item_id))
    return found[1]


def _label(item_id: str, title: str | None) -> Label:
    place = b'{"item_id":%b,"score":%b,"title":%b}' % (orjson.dumps(item_id), _LEFT_OPEN, orjson.dumps(title))
    return place, hash_of(item_id)


@lru_cache(maxsize=64)
def _ranks(n: int) -> list[bytes]:
    return [b',"rank":%d' % rank for rank in range(1, n + 1)]
