"""What users did online, at hand without asking the journal, as far as it fits.

Most requests come from users who did nothing online since the training, or come again. Of the first it is known that
the journal has nothing about them, of the second what it has. Where neither holds, the journal is read.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.domain import EraseUser, Interact, Record
from service.ports import Journal

_BITS = 1 << 26  # 8 MiB, of which only what is written to is taken: a million users fill 1.5 % of it


class UserFilter:
    """A set of users that may take a stranger for a member, seldom, and never a member for a stranger."""

    def __init__(self) -> None:
        self._bits = bytearray(_BITS >> 3)

    def add(self, user_id: str) -> None:
        """Takes a user in."""
        place = hash(user_id) % _BITS
        self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, user_id: str) -> bool:
        place = hash(user_id) % _BITS
        return bool(self._bits[place >> 3] >> (place & 7) & 1)


@dataclass(frozen=True, slots=True)
class _Known:
    """The items of a user's latest interactions, oldest first; none of them was written after the record ``seq``."""

    items: tuple[str, ...]
    seq: int


class Histories:
    """The journal's interactions by user. Thread-safe; nothing here is ever older than what was noted.

    Args:
        journal: has them all.
        most: latest items of a user that are looked at.
        users: whose interactions are kept at most.
    """

    def __init__(self, journal: Journal, most: int = 1000, users: int = 20_000) -> None:
        self._journal = journal
        self._most = most
        self._users = users
        self._filter: UserFilter | None = None  # None = it is not known yet who is in the journal
        self._loading: list[str] | None = None  # who came while the filter is being filled
        self._kept: OrderedDict[str, _Known] = OrderedDict()
        self._reading: dict[str, bool] = {}  # user → whether something was noted since the reading began
        self._lock = threading.Lock()
        self._one_load_at_a_time = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether it is known who is in the journal."""
        return self._filter is not None

    def known(self, user_id: str) -> Sequence[str] | None:
        """The items of a user's interactions, each once, the latest last; None where the journal must be asked."""
        kept = self._kept.get(user_id)
        if kept is not None:
            return kept.items
        return () if self._filter is not None and user_id not in self._filter else None

    def of(self, user_id: str) -> Sequence[str]:
        """The same, from the journal where it must be.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        found = self.known(user_id)
        if found is not None:
            return found
        with self._lock:
            first = user_id not in self._reading
            if first:
                self._reading[user_id] = False
        if not first:  # somebody else reads the same and keeps it
            return tuple(self._journal.history(user_id, self._most))
        read: _Known | None = None
        try:
            items = tuple(self._journal.history(user_id, self._most))
            read = _Known(items, self._journal.last_seq())  # in this order: what is written between may be missing
        finally:
            self._end_reading(user_id, read)
        return items

    def _end_reading(self, user_id: str, read: _Known | None) -> None:
        with self._lock:
            changed = self._reading.pop(user_id)
            if read is not None and not changed:
                self._keep(user_id, read)

    def note(self, records: Iterable[Record]) -> None:
        """Takes in what was just written here: call it before the writing is acknowledged."""
        with self._lock:
            for record in records:
                match record.entry:
                    case Interact(user_id, item_id) if not record.repeated:
                        self._extend(user_id, item_id, record.seq)
                    case Interact(user_id) | EraseUser(user_id):  # who wrote it first may not have said so yet
                        self._forget(user_id)

    def note_others(self, user_ids: Iterable[str]) -> None:
        """Takes in that others have written about these users."""
        with self._lock:
            for user_id in user_ids:
                self._forget(user_id)

    def load(self) -> None:
        """Finds out who is in the journal. Until then the journal is asked about everybody.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        with self._one_load_at_a_time:
            came = self._begin_loading()
            found = UserFilter()
            for user_id in self._journal.users():
                found.add(user_id)
            with self._lock:
                for user_id in came:
                    found.add(user_id)
                self._filter, self._loading = found, None

    def _begin_loading(self) -> list[str]:
        with self._lock:
            came: list[str] = []
            self._loading = came
        return came

    def _extend(self, user_id: str, item_id: str, seq: int) -> None:
        kept = self._kept.get(user_id)
        if kept is None and self._filter is not None and user_id not in self._filter:
            kept = _Known((), 0)
        self._forget(user_id)
        if kept is not None and kept.seq < seq and user_id not in self._reading:
            before = (other for other in kept.items if other != item_id)
            self._keep(user_id, _Known((*before, item_id)[-self._most :], seq))

    def _forget(self, user_id: str) -> None:
        """What is kept of a user holds no longer; neither does what is being read just now."""
        if self._filter is not None:
            self._filter.add(user_id)  # first: who asks meanwhile without the lock must not take them for a stranger
        self._kept.pop(user_id, None)
        if user_id in self._reading:
            self._reading[user_id] = True
        if self._loading is not None:
            self._loading.append(user_id)

    def _keep(self, user_id: str, known: _Known) -> None:
        self._kept[user_id] = known
        while len(self._kept) > self._users:
            self._kept.popitem(last=False)
