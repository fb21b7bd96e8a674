"""The fast path to most lists: what is at hand is not made again, and nothing but a search takes a thread.

A list that was given is given again as long as nothing could change it. Where the user's history and vector are known,
and nothing but the best items is asked for, only the search is left: the index may remember it, or it shares a pass
with the searches of others. Every other list is made by ``Recommender``.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple
from weakref import ref

from service.answers import Answers, Given
from service.degradation import without
from service.domain import Vector
from service.filters import Filter
from service.handle import ServableHandle
from service.impressions import Impressions
from service.lists import Page, Wish
from service.making import Making
from service.queries import Hits, Query
from service.queueing import in_thread
from service.searching import Searches
from service.servable import Servable
from service.users import User, find_user, found_at_once, known_user


class _Asked(NamedTuple):
    """What a list is asked for, and what was known then."""

    user_id: str
    wish: Wish
    servable: Servable
    interactions: Sequence[str]
    changes: int
    index_seq: int


class FastPath:
    """Gives lists of known users; used on the event loop.

    Args:
        handle: says what serves.
        making: makes recommendations of what is found.
        impressions: counts what is shown.
        searches: carries out the searches.

    Attributes:
        asked: how many lists were asked for of users whose history is at hand.
    """

    def __init__(self, handle: ServableHandle, making: Making, impressions: Impressions, searches: Searches) -> None:
        self._handle = handle
        self._making = making
        self._impressions = impressions
        self._searches = searches
        self._histories = making.histories
        self._cache = making.cache
        self._metrics = making.metrics
        self._reading = making.reading
        self._answers = Answers(making.reading.answers)
        self.asked = 0

    def again(self, user_id: str, wish: Wish) -> Given | None:
        """The list that was given to a user for this very wish, where it would be the same now; takes no time.

        Raises:
            ModelUnavailable: nothing serves.
        """
        given = self._answers.get(user_id)
        if given is None:
            return None
        started = perf_counter()
        servable = self._handle.serving(None, user_id)
        servable.expire(self._reading.clock())
        index_seq = servable.index_seq  # first: a list must know of what it says it knows
        changes = servable.changes
        if not given.is_for(wish, servable) or given.interactions is not self._histories.known(user_id):
            return None
        if given.changes != changes:
            if not _stands(given, servable):
                return None
            given.changes = changes
        self.asked += 1
        answer = given.told(index_seq, without(self._cache, servable))
        self._metrics.spent("search", perf_counter() - started)
        self._metrics.search.recalled(known=True)
        given.note_shown(servable)
        self._impressions.count(answer, len(given.new))
        self._impressions.count_arm(user_id, wish, answer)
        return given

    async def quickly(self, user_id: str, wish: Wish) -> Given | None:
        """The list for one user, where everything but the search is at hand and takes no time; else None.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
            Overloaded: so many wait for a thread.
            TimeoutError: the search takes too long.
        """
        interactions = self._histories.known(user_id)
        if interactions is None or not wish.plain or self._explores(wish):
            return None
        self.asked += 1
        servable = self._handle.serving(wish.model, user_id)
        asked = _Asked(user_id, wish, servable, interactions, servable.changes, servable.index_seq)
        user = await self._find(servable, user_id, interactions)
        if user is None or user.vector is None:
            return None
        allowed = self._making.allowed(servable, user, wish)
        query = _query(allowed, user.vector, user_id, wish)
        started = perf_counter()
        with self._metrics.stage("search"):
            known = self._searches.recall(servable.index, query)
            hits = await self._searches.search(servable.index, query) if known is None else known
        spoken_of = servable.spoken_of(hits)  # before what is said of them is looked up
        if not all(servable.visible(item_id, allowed.now) for item_id in spoken_of):
            return None  # a writer is between its two steps
        given = None if known is None else self._answers.get(user_id)
        if given and given.is_for(wish, servable) and given.takes(hits, spoken_of):
            given.told(asked.index_seq, without(self._cache, servable))
            given.renewed(interactions, asked.changes)
            given.note_shown(servable)
        else:
            given = self._make(asked, user, hits, spoken_of)
            self._metrics.shown.made(given.answer.strategy, perf_counter() - started)
        if self._answers.come_again(user_id):  # lists of those who come once are not kept whole
            given.query = _lasting(query, servable, interactions)
            self._answers.keep(user_id, given)
        self._impressions.count(given.answer, len(given.new))
        self._impressions.count_arm(user_id, wish, given.answer)
        return given

    @property
    def expectant(self) -> bool:
        """Whether it can be told of most users what they will ask of the index."""
        return self._histories.loaded

    def expected(self, servable: Servable, user_id: str, wish: Wish) -> Query | None:
        """What will be asked of the index when a user asks for a list; None where that cannot be told."""
        interactions = self._histories.known(user_id)
        user = None if interactions is None else find_user(servable, user_id, interactions)
        if user is None or user.vector is None:
            return None
        return _query(self._making.allowed(servable, user, wish), user.vector, user_id, wish)

    async def _find(self, servable: Servable, user_id: str, interactions: Sequence[str]) -> User | None:
        """A user by the vector they had, if nothing can have changed it; or folded in, on a thread if that is long."""
        given = self._answers.get(user_id)
        if given and given.query and given.interactions is interactions and given.servable() is servable:
            return known_user(servable, user_id, interactions, given.query.vector)
        if found_at_once(servable, user_id, interactions):
            return find_user(servable, user_id, interactions)
        find = partial(find_user, servable, user_id, interactions)
        return await in_thread(find, self._reading.searches, self._reading.max_waiting)

    def _make(self, asked: "_Asked", user: User, hits: Hits, spoken_of: Mapping[str, int]) -> Given:
        """A list that is given for the first time; notes that its items are shown."""
        wish, servable = asked.wish, asked.servable
        shown = hits[: wish.k]
        page = Page(shown, more=len(hits) > wish.k)
        answer = self._making.recommendation(servable, user, asked.user_id, page, wish, asked.index_seq)
        watched, new = servable.coverage.note(shown.slots), servable.new_among(shown)
        if new:
            servable.newcomers.note_shown(new)
        known = (asked.interactions, asked.changes, hits, spoken_of)
        return Given(wish, ref(servable), *known, new, watched, answer, hits.found_at)

    def _explores(self, wish: Wish) -> bool:
        return self._reading.exploration.places(wish.k) > 0


def _query(allowed: Filter, vector: Vector, user_id: str, wish: Wish) -> Query:
    # No id has a NUL: the list of everything for one user is not mistaken for that of another.
    return allowed.query(vector, wish.k + 1, f"all\0{user_id}" if wish.include_seen else user_id)


def _stands(given: Given, servable: Servable) -> bool:
    """Whether a list is right in spite of what was written since."""
    query, index = given.query, servable.index
    if query is None:
        return False
    if given.mark and (mark := index.holds(query, given.hits, given.mark)):
        given.mark = mark
        return given.spoken_of == servable.spoken_of(given.hits)
    hits = index.recall(query)
    return hits is not None and given.takes(hits, servable.spoken_of(hits))


def _lasting(query: Query, servable: Servable, interactions: Sequence[str]) -> Query | None:
    """What will be asked for a user again, whatever is written; None where their vector may change with it.

    Other items than the bundle's may be encoded anew. Copies, which keep no bundle's files open.
    """
    if not all(item_id in servable.bundle.items for item_id in interactions):
        return None
    rows = query.exclude_rows
    return query._replace(vector=query.vector.copy(), exclude_rows=None if rows is None else rows.copy())
