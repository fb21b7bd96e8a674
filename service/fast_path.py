"""The fast path to most lists: what is at hand is not made again, and nothing but a search takes a thread.

A list that was given is given again as long as nothing could change it. Where the user's history and vector are known,
and nothing but the best items is asked for, only the search is left: the index may remember it, or it shares a pass
with the searches of others. Every other list is made by ``Recommender``.
"""

from collections.abc import Collection, Sequence
from time import perf_counter
from weakref import ref

from service.answers import Answers, Given
from service.degradation import without
from service.domain import Hit, Query, Recommendation, Vector
from service.filters import Filter
from service.handle import ServableHandle
from service.impressions import Impressions
from service.lists import Page, Wish
from service.making import Making
from service.searching import Searches
from service.servable import Servable
from service.users import find_user


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
        index_seq = servable.index_seq
        if not given.holds(wish, servable, self._histories.known(user_id)):
            return None
        self.asked += 1
        answer = given.told(index_seq, without(self._cache, servable))
        self._metrics.spent("search", perf_counter() - started)
        self._metrics.search.recalled(known=True)
        if given.telling:
            _note_shown(servable, given.telling)
        self._impressions.count(answer, given.new)
        self._impressions.count_arm(user_id, wish, answer)
        return given

    async def quickly(self, user_id: str, wish: Wish) -> Given | None:
        """The list for one user, where everything but the search is at hand and takes no time; else None.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
            Overloaded: so many searches wait.
            TimeoutError: the search takes too long.
        """
        interactions = self._histories.known(user_id)
        if interactions is None or not wish.plain or self._explores(wish):
            return None
        self.asked += 1
        servable = self._handle.serving(wish.model, user_id)
        changes, index_seq = servable.changes, servable.index_seq
        user = find_user(servable, user_id, interactions)
        if user is None or user.vector is None:
            return None
        allowed = self._making.allowed(servable, user, wish)
        query = _query(allowed, user.vector, user_id, wish)
        started = perf_counter()
        with self._metrics.stage("search"):
            known = self._searches.recall(servable.index, query)
            hits = await self._searches.search(servable.index, query) if known is None else known
        before = None if known is None else self._answers.get(user_id)
        if before and before.tells_of(wish, servable, hits):
            before.told(index_seq, without(self._cache, servable))
            given = before.renewed(interactions, changes)
            _note_shown(servable, given.telling)
        elif servable.all_shown([hit.item_id for hit in hits], allowed.now):
            page = Page(hits[: wish.k], more=len(hits) > wish.k)
            answer = self._making.recommendation(servable, user, user_id, page, wish, index_seq)
            self._metrics.shown.made(answer.strategy, perf_counter() - started)
            given = _given(wish, servable, interactions, changes, hits, answer)
        else:
            return None  # a writer is between its two steps
        if self._answers.come_again(user_id) and known is not None:  # lists of those who come once are not kept whole
            self._answers.keep(user_id, given)
        self._impressions.count(given.answer, given.new)
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

    def _explores(self, wish: Wish) -> bool:
        return self._reading.exploration.places(wish.k) > 0


def _query(allowed: Filter, vector: Vector, user_id: str, wish: Wish) -> Query:
    return allowed.query(vector, wish.k + 1, f"all:{user_id}" if wish.include_seen else user_id)


def _given(
    wish: Wish,
    servable: Servable,
    interactions: Sequence[str],
    changes: int,
    hits: list[Hit],
    answer: Recommendation,
) -> Given:
    """A list that is given for the first time; notes that its items are shown."""
    new, telling = _note_shown(servable, [hit.item_id for hit in hits[: wish.k]])
    return Given(wish, ref(servable), interactions, changes, hits, new, telling, answer)


def _note_shown(servable: Servable, item_ids: Collection[str]) -> tuple[int, Collection[str]]:
    """Notes that items are shown; returns how many of them are new, and those of which anything is noted."""
    watched, new = servable.coverage.note(item_ids), servable.newcomers.note_shown(item_ids)
    return new, item_ids if new else watched
