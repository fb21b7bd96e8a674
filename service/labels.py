"""What a list says of its items, at hand as it is sent: most lists are only that, and nobody spells them out."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import overload
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


class Labels:
    """Labels of items; those of which no record speaks are made once. Used on any thread."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Servable, dict[str, Label]] = WeakKeyDictionary()

    def of(self, servable: Servable, item_ids: Sequence[str]) -> list[Label]:
        """The labels of items of a Servable, in their order."""
        known = self._at_hand(servable)
        if servable.only_trained(item_ids):
            return _of_trained(servable, item_ids, known)
        written = {each: _label(each, servable.title(each)) for each in item_ids if not servable.only_trained([each])}
        trained = [each for each in item_ids if each not in written]
        labels = dict(zip(trained, _of_trained(servable, trained, known), strict=True)) | written
        return [labels[each] for each in item_ids]

    def learn(self, servable: Servable, item_ids: Sequence[str]) -> None:
        """Makes the labels of items of the bundle before anybody asks for them."""
        _of_trained(servable, item_ids, self._at_hand(servable))

    def _at_hand(self, servable: Servable) -> dict[str, Label]:
        known = self._known.get(servable)
        if known is None or len(known) > MOST:
            known = self._known[servable] = {}
        return known


def _of_trained(servable: Servable, item_ids: Sequence[str], known: dict[str, Label]) -> list[Label]:
    labels = [label for label in map(known.get, item_ids) if label]
    if len(labels) == len(item_ids):
        return labels
    unknown = [each for each in item_ids if each not in known]
    known.update(zip(unknown, map(_label, unknown, servable.titles(unknown)), strict=True))
    return [known[each] for each in item_ids]


def _label(item_id: str, title: str | None) -> Label:
    place = b'{"item_id":%b,"score":%b,"title":%b}' % (orjson.dumps(item_id), _LEFT_OPEN, orjson.dumps(title))
    return place, hash_of(item_id)


@lru_cache(maxsize=64)
def _ranks(n: int) -> list[bytes]:
    return [b',"rank":%d' % rank for rank in range(1, n + 1)]
