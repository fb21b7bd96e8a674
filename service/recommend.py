"""The read use cases: what for this user, for this session, beside this item?"""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from weakref import ref

from anyio import CapacityLimiter

from service.answers import Answers, Given
from service.degradation import without
from service.domain import Hit, Query, Recommendation, Strategy, Suggestion, Vector
from service.errors import StorageUnavailable, UnknownItem, UnknownUser
from service.explain import Explainer
from service.exploration import Exploration
from service.filters import Filter, make_filter
from service.handle import ServableHandle
from service.histories import Histories
from service.labels import Labels
from service.lists import Page, Wish, make_page
from service.observability import Metrics
from service.ports import FeatureCache, Journal
from service.queueing import in_thread
from service.searching import Searches
from service.servable import Servable
from service.shadow import Shadow
from service.users import User, find_user, session_user

logger = logging.getLogger(__name__)

_Made = tuple[Servable, Recommendation]


def utc_now() -> datetime:
    """The time, with zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """How reads are carried out.

    Attributes:
        searches: how many run at the same time on worker threads.
        exploration: how new items get their chance.
        max_waiting: how many may wait for that.
        max_shown: how many items a cursor may lead past.
        max_history: latest online interactions of a user that are looked at.
        answers: lists that are kept whole for users who ask again.
        clock: tells the time.
    """

    searches: CapacityLimiter
    exploration: Exploration
    max_waiting: int = 200
    max_shown: int = 1000
    max_history: int = 1000
    answers: int = 5000
    clock: Callable[[], datetime] = utc_now


class Recommender:
    """Answers questions from whatever Servable serves when they begin."""

    def __init__(
        self,
        handle: ServableHandle,
        journal: Journal,
        cache: FeatureCache,
        metrics: Metrics,
        reading: Reading,
        histories: Histories | None = None,
        searches: Searches | None = None,
    ) -> None:
        self._handle = handle
        self._journal = journal
        self._histories = histories or Histories(journal, reading.max_history, users=0)
        self._searches = searches
        self._cache = cache
        self._metrics = metrics
        self._reading = reading
        self._answers = Answers(reading.answers)
        self._labels = Labels()
        self.asked = 0  # lists by the short way
        self.shadow = Shadow(handle, self._for_user, metrics)

    async def for_user(self, user_id: str, wish: Wish, *, strict: bool = False) -> Recommendation:
        """The list for one user.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
            UnknownUser: ``strict``, and neither the model nor the journal knows the user.
            StorageUnavailable: ``strict``, and only the journal, which cannot be read now, may know the user.
        """
        quick = await self.quickly(user_id, wish)
        return quick.answer if quick else (await self.for_users([user_id], wish, strict=strict))[0]

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
            _shown(servable, answer)
        self._count(answer, given.new)
        self._count_arm(user_id, wish, answer)
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
        if interactions is None or self._searches is None or self._explores(wish) or not wish.plain:
            return None
        self.asked += 1
        servable = self._handle.serving(wish.model, user_id)
        changes, index_seq = servable.changes, servable.index_seq
        user = find_user(servable, user_id, interactions)
        if user is None or user.vector is None:
            return None
        allowed = self._filter(servable, user, wish)
        query = _query(allowed, user.vector, user_id, wish)
        started = perf_counter()
        with self._metrics.stage("search"):
            known = self._searches.recall(servable.index, query)
            hits = await self._searches.search(servable.index, query) if known is None else known
        before = None if known is None else self._answers.get(user_id)
        if before and before.tells_of(wish, servable, hits):
            before.told(index_seq, without(self._cache, servable))
            given = replace(before, interactions=interactions, changes=changes)
            if given.telling:
                _shown(servable, given.answer)
        elif servable.all_shown([hit.item_id for hit in hits], allowed.now):
            page = Page(hits[: wish.k], more=len(hits) > wish.k)
            answer = self._recommendation(servable, user, user_id, page, wish, index_seq)
            self._metrics.shown.made(answer.strategy, perf_counter() - started)
            given = _given(wish, servable, interactions, changes, hits, answer)
        else:
            return None  # a writer is between its two steps
        if known is not None:
            self._answers.keep(user_id, given)
        self._count(given.answer, given.new)
        self._count_arm(user_id, wish, given.answer)
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
        return _query(self._filter(servable, user, wish), user.vector, user_id, wish)

    async def for_users(self, user_ids: Sequence[str], wish: Wish, *, strict: bool = False) -> list[Recommendation]:
        """The lists for several users, all from the same model version but for those in the other arm of a split test.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
            UnknownUser: ``strict``, and neither the model nor the journal knows one of them.
            StorageUnavailable: ``strict``, and only the journal, which cannot be read now, may know one of them.
        """
        servables = [self._handle.serving(wish.model, user_id) for user_id in user_ids]

        def answer() -> list[_Made]:
            pairs = zip(servables, user_ids, strict=True)
            return [(servable, self._for_user(servable, user_id, wish, strict=strict)) for servable, user_id in pairs]

        answers = await self._counted(answer)
        for user_id, each in zip(user_ids, answers, strict=True):
            self._count_arm(user_id, wish, each)
        return answers

    def _explores(self, wish: Wish) -> bool:
        return self._reading.exploration.places(wish.k) > 0

    def _count_arm(self, user_id: str, wish: Wish, answer: Recommendation) -> None:
        self._metrics.count_arm(self._handle.arm_of(user_id))
        self.shadow.offer(user_id, wish, answer)

    async def for_session(self, history: Sequence[str], wish: Wish) -> Recommendation:
        """The list for somebody without a name, by what they did (item ids, oldest first).

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
        """
        servable = self._handle.serving(wish.model)

        def answer() -> list[_Made]:
            return [(servable, self._answer(servable, session_user(servable, history), wish, None))]

        return (await self._counted(answer))[0]

    async def similar(self, item_id: str, wish: Wish) -> Recommendation:
        """What somebody would get whose history is this item alone; the item itself left out.

        Where the model encodes no histories, the items of highest inner product with the item's own vector.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
            UnknownItem: there is no such item.
        """
        servable = self._handle.serving(wish.model)

        def answer() -> list[_Made]:
            own = servable.vector(item_id)
            if own is None:
                raise UnknownItem(item_id)
            fan = session_user(servable, [item_id])
            others = replace(wish, exclude=wish.exclude | {item_id})
            known = fan if fan.vector is not None else User(servable, own, [item_id])
            return [(servable, self._answer(servable, known, others, None))]

        return (await self._counted(answer))[0]

    async def _counted(self, make: Callable[[], list[_Made]]) -> list[Recommendation]:
        """Makes lists that are shown, and counts what is shown in them."""

        def answer() -> list[Recommendation]:
            started = perf_counter()
            made = make()
            seconds = (perf_counter() - started) / max(1, len(made))
            for servable, each in made:
                self._count(each, _shown(servable, each))
                self._metrics.shown.made(each.strategy, seconds)
            return [each for _, each in made]

        return await in_thread(answer, self._reading.searches, self._reading.max_waiting)

    def _count(self, answer: Recommendation, new: int) -> None:
        self._metrics.count_shown(new, len(answer.items) - new)
        self._metrics.count_list(answer.strategy)

    def _for_user(self, servable: Servable, user_id: str, wish: Wish, *, strict: bool = False) -> Recommendation:
        degraded: tuple[str, ...] = ()
        try:
            interactions = self._histories.of(user_id)
        except StorageUnavailable:
            if strict and user_id not in servable.bundle.users:
                raise  # nobody can say now that there is no such user
            # What the model knows is better than no list; that it may repeat itself is said.
            logger.warning("history_unavailable", exc_info=True)
            interactions, degraded = [], ("history",)
        user = find_user(servable, user_id, interactions)
        if user is None and strict:
            raise UnknownUser(user_id)
        return self._answer(servable, user or User(servable, None), wish, user_id, degraded)

    def _answer(
        self, servable: Servable, user: User, wish: Wish, user_id: str | None, degraded: tuple[str, ...] = ()
    ) -> Recommendation:
        index_seq = servable.index_seq
        with self._metrics.stage("filter") if wish.categories or wish.attributes else nullcontext():
            allowed = self._filter(servable, user, wish)
        with self._metrics.stage("search"):
            page = make_page(allowed, user.vector, wish, self._reading.exploration)
        answer = self._recommendation(servable, user, user_id, page, wish, index_seq, degraded)
        if wish.explain and user.vector is not None:
            with self._metrics.stage("explain"):
                return replace(answer, items=Explainer(servable, self._journal, user).explained(answer.items))
        return answer

    def _filter(self, servable: Servable, user: User, wish: Wish) -> Filter:
        return make_filter(
            servable,
            seen=() if wish.include_seen else user.interactions,
            trained=None if wish.include_seen else user.trained,
            exclude=wish.exclude,
            now=self._reading.clock(),
            categories=wish.categories,
            attributes=wish.attributes,
        )

    def _recommendation(
        self,
        servable: Servable,
        user: User,
        user_id: str | None,
        page: Page,
        wish: Wish,
        index_seq: int,
        degraded: tuple[str, ...] = (),
    ) -> Recommendation:
        more = page.more and len(wish.shown) + len(page.hits) < self._reading.max_shown
        ids = [hit.item_id for hit in page.hits]
        titles, hashes = self._labels.of(servable, ids)
        return Recommendation(
            user_id,
            _strategy(user, user_id),
            servable.version,
            index_seq,
            list(map(Suggestion, ids, [hit.score for hit in page.hits], titles)),
            degraded + without(self._cache, servable),
            wish.shown.and_hashes(hashes).cursor() if more else None,
        )


def _query(allowed: Filter, vector: Vector, user_id: str, wish: Wish) -> Query:
    return allowed.query(vector, wish.k + 1, f"all:{user_id}" if wish.include_seen else user_id)


def _shown(servable: Servable, answer: Recommendation) -> int:
    """Notes that a list's items are shown; returns how many of them are new."""
    item_ids = [item.item_id for item in answer.items]
    servable.coverage.note(item_ids)
    return servable.newcomers.note_shown(item_ids)


def _given(
    wish: Wish,
    servable: Servable,
    interactions: Sequence[str],
    changes: int,
    hits: list[Hit],
    answer: Recommendation,
) -> Given:
    """A list that is given for the first time; notes that its items are shown."""
    new = _shown(servable, answer)
    telling = new > 0 or servable.coverage.watches(item.item_id for item in answer.items)
    return Given(wish, ref(servable), interactions, changes, hits, new, telling, answer)


def _strategy(user: User, user_id: str | None) -> Strategy:
    if user.vector is None:
        return "popular"
    return "session" if user_id is None else "personal"
