"""Which items are of a category, or have an attribute of some value."""

import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice

import numpy as np

from service.chosen import Chosen
from service.domain import Item
from service.postings import ItemRows, Key, Postings
from service.trained import TrainedFacets

_MOST_NAMES = 64  # attributes that are kept looked up; the one that was asked for first gives way
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")

_LONGEST_NUMBER = 1000  # digits; Python reads some thousand, and nobody means more than twenty
_Written = dict[Key, set[str]]


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """A condition on one attribute; items without it never fulfil it.

    Numbers compare by value, also where the one or the other is text that reads as a number: attributes of the
    training data are all text.

    Attributes:
        name: of the attribute.
        any_of: it must equal one of these; None = any value.
        least: where given, it must be a number of at least that.
        most: where given, it must be a number of at most that.
        above: where given, it must be a number greater than that.
        below: where given, it must be a number less than that.
    """

    name: str
    any_of: frozenset[Key] | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, key: Key) -> bool:
        """Whether a value, as ``key_of`` gives it, fulfils the condition."""
        return (self.any_of is None or key in self.any_of) and (not self._bounded or self._within(key))

    @property
    def _bounded(self) -> bool:
        return any(bound is not None for bound in (self.least, self.most, self.above, self.below))

    def _within(self, key: Key) -> bool:
        return (
            not isinstance(key, str)
            and (self.least is None or key >= self.least)
            and (self.most is None or key <= self.most)
            and (self.above is None or key > self.above)
            and (self.below is None or key < self.below)
        )


def key_of(value: str | float | bool) -> Key:
    """What values are compared by: numbers, and text that reads as one, by value; truth values as true and false.

    >>> key_of("7.0") == key_of(7), key_of("007"), key_of(True)
    (True, '007', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
            return value
        return float(value) if "." in value else int(value)
    return value


@dataclass(frozen=True, slots=True)
class _Part:
    """Some items: those that were written, and rows of those that stand as the bundle has them, ascending."""

    ids: set[str]
    rows: ItemRows


class Facets:
    """Categories and attributes turned round: from them to items.

    Categories are kept from the start; an attribute is looked up once it is first asked for, and kept since. One writer
    at a time (it holds ``lock``); readers see a state that was.

    Args:
        lock: the writer's.
        values: the items that were written with their values of one attribute; read under the lock.
        names: of the attributes that items have at the start.
        trained: the items that were never written.
    """

    def __init__(
        self,
        lock: threading.Lock,
        values: Callable[[str], Iterable[tuple[str, str | int | float | bool]]],
        names: Iterable[str] = (),
        trained: TrainedFacets | None = None,
    ) -> None:
        self._lock = lock
        self._values = values
        self._trained = trained
        self._categories: _Written = {}
        self._names = set(names)
        self._attributes: dict[str, tuple[_Written, Postings]] = {}

    def file(self, item_id: str, categories: Sequence[str]) -> None:
        """Enters the categories of an item that had none."""
        for category in categories:
            self._categories.setdefault(category, set()).add(item_id)

    def move(self, before: Item | None, after: Item | None) -> None:
        """Notes that an item now reads otherwise; None where it was not there, or is gone."""
        if before:
            for category in before.categories:
                self._categories[category].discard(before.item_id)
        if after:
            self.file(after.item_id, after.categories)
            self._names.update(after.attributes)
        for name, (written, _) in self._attributes.items():
            if before and name in before.attributes:
                written.get(key_of(before.attributes[name]), set()).discard(before.item_id)
            if after and name in after.attributes:
                written.setdefault(key_of(after.attributes[name]), set()).add(after.item_id)

    def matching(self, categories: Collection[str], attributes: Collection[AttributeIs]) -> Chosen | None:
        """Items of one of the categories that fulfil all conditions, shown or not; None where nothing is asked."""
        parts = [self._with_attribute(condition) for condition in attributes]
        if categories:
            trained = self._trained.categories if self._trained else Postings()
            parts.append(_part(self._categories, trained, categories))
        if not parts:
            return None
        ids = frozenset(parts[0].ids.intersection(*(part.ids for part in parts[1:])))
        rows = reduce(partial(np.intersect1d, assume_unique=True), (part.rows for part in parts))
        return self._trained.chosen(ids, rows) if self._trained else Chosen(ids)

    def _with_attribute(self, condition: AttributeIs) -> _Part:
        written, trained = self._attributes.get(condition.name) or self._look_up(condition.name)
        keys = {*written.copy(), *trained.places} if condition.any_of is None else condition.any_of
        return _part(written, trained, [key for key in keys if condition.holds(key)])

    def _look_up(self, name: str) -> tuple[_Written, Postings]:
        if name not in self._names:  # there is no end of names that no item has
            return {}, Postings()
        with self._lock:
            if name in self._attributes:  # another reader was first
                return self._attributes[name]
            written: _Written = {}
            for item_id, value in self._values(name):
                written.setdefault(key_of(value), set()).add(item_id)
            trained = self._trained.attribute(name, key_of) if self._trained else Postings()
            for oldest in list(islice(self._attributes, max(0, len(self._attributes) - _MOST_NAMES + 1))):
                del self._attributes[oldest]
            self._attributes[name] = written, trained
        return written, trained


def _part(written: _Written, trained: Postings, keys: Collection[Key]) -> _Part:
    # Each set is copied in one atomic step: searches must not wait for a writer here.
    sets = [written[key].copy() for key in keys if key in written]
    return _Part(sets[0] if len(sets) == 1 else set().union(*sets), trained.of_any(keys))
