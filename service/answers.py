"""Lists that were given, whole, for users who ask again.

What the index remembers still has to become a list: titles, a cursor, JSON. Where the user has not changed since, and
the index finds the same items, of which no record has spoken since, all of that is the same again. Whoever asks once
leaves nothing here, only who has asked of late.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakSet, ref

from service.domain import Recommendation
from service.lists import Wish
from service.queries import Hits, Mark, Query
from service.servable import Servable

_LATEST = 1 << 14


@dataclass(slots=True)
class Given:
    """A list as it was given.

    Attributes:
        wish: what was asked for.
        servable: the model version that gave it; weakly, so that a version that serves no more can go.
        interactions: what was known of the user's, the very object.
        changes: of the Servable, before the list was made.
        hits: what the index had found ...
        spoken_of: ... and what records then spoke of which of these (``Holdings.spoken_of``).
        new: its items that the model was not trained on.
        watched: rows of its items of which it is noted that they are shown.
        answer: the list.
        mark: until then the hits are known to be what the index finds; None where it cannot tell.
        sent: what is the same whenever it is sent, as whoever sends it has made it; None = it was never sent.
        query: what the index was asked and will be asked again; None where that may change with what is written.
    """

    wish: Wish
    servable: ref[Servable]
    interactions: Sequence[str]
    changes: int
    hits: Hits
    spoken_of: Mapping[str, int]
    new: Sequence[str]
    watched: frozenset[int]
    answer: Recommendation
    mark: Mark | None
    sent: tuple[bytes, bytes] | None = None
    query: Query | None = None

    def is_for(self, wish: Wish, servable: Servable) -> bool:
        """Whether this was asked for, of this model version."""
        return self.wish is wish and self.servable() is servable

    def takes(self, hits: Hits, spoken_of: Mapping[str, int]) -> bool:
        """Whether the list is made of hits that were found by now, of which records now speak like this."""
        if self.hits != hits or self.spoken_of != spoken_of:
            return False
        self.hits, self.mark = hits, hits.found_at
        return True

    def note_shown(self, servable: Servable) -> None:
        """Notes that its items are shown again."""
        if self.watched:
            servable.coverage.note(self.watched)
        if self.new:
            servable.newcomers.note_shown(self.new)

    def told(self, index_seq: int, degraded: tuple[str, ...]) -> Recommendation:
        """The list, with what is known by now."""
        if self.answer.index_seq != index_seq or self.answer.degraded != degraded:
            self.answer = self.answer._replace(index_seq=index_seq, degraded=degraded)
        return self.answer

    def renewed(self, interactions: Sequence[str], changes: int) -> None:
        """Notes that it is given again when so much is known."""
        self.interactions, self.changes = interactions, changes


class Answers:
    """The latest ``most`` lists by user; used on the event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._given: OrderedDict[str, Given] = OrderedDict()
        self._versions: WeakSet[Servable] = WeakSet()  # that gave what is kept
        self._n_versions = 0
        self._latest_version: ref[Servable] | None = None
        self._latest: list[int | None] = [None] * _LATEST  # hashes of users, each at its own place

    def come_again(self, user_id: str) -> bool:
        """Whether a user has asked of late, as far as that is known still; notes that they ask now."""
        name = hash(user_id)
        place = name % _LATEST
        again = self._latest[place] == name
        self._latest[place] = name
        return again

    def get(self, user_id: str) -> Given | None:
        """What was given to a user last; it may hold no longer."""
        return self._given.get(user_id)

    def keep(self, user_id: str, given: Given) -> None:
        """Keeps what was given to a user."""
        if len(self._versions) < self._n_versions:
            self._let_go()
        if given.servable is not self._latest_version and (servable := given.servable()):
            self._latest_version = given.servable
            self._versions.add(servable)
            self._n_versions = len(self._versions)
        self._given[user_id] = given
        self._given.move_to_end(user_id)
        while len(self._given) > self._most:
            self._given.popitem(last=False)

    def _let_go(self) -> None:
        """Forgets what was given by versions that are gone: hits hold the ids of all their items."""
        for user_id in [user_id for user_id, given in self._given.items() if given.servable() is None]:
            del self._given[user_id]
        self._n_versions = len(self._versions)
