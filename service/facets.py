"""Which items are of a category, or have an attribute of some value."""

import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice

import numpy as np

from service.chosen import Chosen
from service.domain import Item
from service.postings import ItemRows, Key, Numbers, Postings, Written
from service.trained import TrainedFacets

_MOST_NAMES = 64  # attributes that are kept looked up; the one that was asked for first gives way
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_LONGEST_NUMBER = 1000  # digits; Python reads some thousand, and nobody means more than twenty

_Value = str | int | float | bool
_Move = tuple[Item | None, Item | None]  # an item before and after it was written


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
        if self.any_of is not None and key not in self.any_of:
            return False
        return not self.bounded or (not isinstance(key, str) and self._reached(key) and not self._passed(key))

    @property
    def bounded(self) -> bool:
        """Whether a range is asked for."""
        return any(bound is not None for bound in (self.least, self.most, self.above, self.below))

    def span(self, numbers: Numbers) -> tuple[int, int]:
        """Which of some numbers, ascending, are within the bounds: from where to where."""
        return bisect_left(numbers, True, key=self._reached), bisect_left(numbers, True, key=self._passed)

    def _reached(self, number: float) -> bool:
        return (self.least is None or number >= self.least) and (self.above is None or number > self.above)

    def _passed(self, number: float) -> bool:
        return not ((self.most is None or number <= self.most) and (self.below is None or number < self.below))


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
        values: Callable[[str], Iterable[tuple[str, _Value]]],
        names: Iterable[str] = (),
        trained: TrainedFacets | None = None,
    ) -> None:
        self._lock = lock
        self._values = values
        self._trained = trained
        self._categories = Written()
        self._names = set(names)
        self._attributes: dict[str, tuple[Written, Postings]] = {}
        self._looking_up = threading.Lock()  # never taken by a writer
        self._missed: list[_Move] | None = None  # what is written while an attribute is looked up

    def file(self, item_id: str, categories: Sequence[str]) -> None:
        """Enters the categories of an item that had none."""
        for category in categories:
            self._categories.enter(item_id, category)

    def move(self, before: Item | None, after: Item | None) -> None:
        """Notes that an item now reads otherwise; None where it was not there, or is gone."""
        if before:
            for category in before.categories:
                self._categories.take_out(before.item_id, category)
        if after:
            self.file(after.item_id, after.categories)
            self._names.update(after.attributes)
        for name, (written, _) in self._attributes.items():
            _move(written, name, before, after)
        if (missed := self._missed) is not None:
            missed.append((before, after))

    def matching(self, categories: Collection[str], attributes: Collection[AttributeIs]) -> Chosen | None:
        """Items of one of the categories that fulfil all conditions, shown or not; None where nothing is asked."""
        parts = [self._with_attribute(condition) for condition in attributes]
        if categories:
            trained = self._trained.categories if self._trained else Postings()
            parts.append(_Part(self._categories.of_any(categories), trained.of_any(categories)))
        if not parts:
            return None
        ids = frozenset(parts[0].ids.intersection(*(part.ids for part in parts[1:])))
        rows = reduce(partial(np.intersect1d, assume_unique=True), (part.rows for part in parts))
        return self._trained.chosen(ids, rows) if self._trained else Chosen(ids)

    def _with_attribute(self, condition: AttributeIs) -> _Part:
        written, trained = self._attributes.get(condition.name) or self._look_up(condition.name)
        if condition.any_of is not None:
            keys = [key for key in condition.any_of if condition.holds(key)]
            return _Part(written.of_any(keys), trained.of_any(keys))
        if condition.bounded:
            return _Part(written.within(condition.span), trained.within(condition.span))
        return _Part(written.of_all(), trained.of_all())

    def _look_up(self, name: str) -> tuple[Written, Postings]:
        if name not in self._names:  # there is no end of names that no item has
            return Written(), Postings()
        with self._looking_up:  # each takes the processor a while: not all who ask at once
            if name not in self._attributes:  # no other reader was first
                self._keep(name, self._trained.attribute(name, key_of) if self._trained else Postings())
            return self._attributes[name]

    def _keep(self, name: str, trained: Postings) -> None:
        """Turns what was written round as well. A writer waits for one look at the items, which makes nothing of it."""
        try:
            with self._lock:
                missed = self._missed = list[_Move]()
                values = list(self._values(name))
            written = Written((item_id, key_of(value)) for item_id, value in values)
            with self._lock:
                for before, after in missed:
                    _move(written, name, before, after)
                for oldest in list(islice(self._attributes, max(0, len(self._attributes) - _MOST_NAMES + 1))):
                    del self._attributes[oldest]
                self._attributes[name] = written, trained
        finally:
            self._missed = None


def _move(written: Written, name: str, before: Item | None, after: Item | None) -> None:
    """Notes what an item now has of one attribute."""
    if before and name in before.attributes:
        written.take_out(before.item_id, key_of(before.attributes[name]))
    if after and name in after.attributes:
        written.enter(after.item_id, key_of(after.attributes[name]))
