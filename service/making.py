"""Making a Recommendation by one model version: of what is known of a user, the items allowed, and the best of them."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

from anyio import CapacityLimiter

from service.degradation import without
from service.domain import Recommendation, Strategy
from service.errors import StorageUnavailable, UnknownUser
from service.explain import Explainer
from service.exploration import Exploration
from service.filters import Filter, make_filter
from service.histories import Histories
from service.labels import Labels
from service.lists import Page, Wish, make_page
from service.metrics import Metrics
from service.ports import FeatureCache, Journal
from service.servable import Servable
from service.users import User, find_user

logger = logging.getLogger(__name__)


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
        answers: lists that are kept whole for users who ask again.
        clock: tells the time.
    """

    searches: CapacityLimiter
    exploration: Exploration
    max_waiting: int = 200
    max_shown: int = 1000
    answers: int = 5000
    clock: Callable[[], datetime] = utc_now


@dataclass(frozen=True, slots=True)
class Making:
    """Makes lists, on any thread; counts nothing and notes nothing as shown.

    Attributes:
        histories: what users did online.
        journal: tells explanations of the users' items.
        cache: of which it is said where it does not work.
        metrics: of the app.
        reading: how reads are carried out.
        labels: of the items, as far as they are at hand.
    """

    histories: Histories
    journal: Journal
    cache: FeatureCache
    metrics: Metrics
    reading: Reading
    labels: Labels = field(default_factory=Labels)

    def for_user(self, servable: Servable, user_id: str, wish: Wish, *, strict: bool = False) -> Recommendation:
        """The list for a user.

        Raises:
            UnknownUser: ``strict``, and neither the model nor the journal knows the user.
            StorageUnavailable: ``strict``, and only the journal, which cannot be read now, may know the user.
        """
        degraded: tuple[str, ...] = ()
        try:
            interactions = self.histories.of(user_id)
        except StorageUnavailable:
            if strict and user_id not in servable.bundle.users:
                raise  # nobody can say now that there is no such user
            # What the model knows is better than no list; that it may repeat itself is said.
            logger.warning("history_unavailable", exc_info=True)
            interactions, degraded = [], ("history",)
        user = find_user(servable, user_id, interactions)
        if user is None and strict:
            raise UnknownUser(user_id)
        return self.answer(servable, user or User(servable, None), wish, user_id, degraded)

    def answer(
        self,
        servable: Servable,
        user: User,
        wish: Wish,
        user_id: str | None = None,
        degraded: tuple[str, ...] = (),
    ) -> Recommendation:
        """The list for a user or session; ``degraded`` = what was done without to find out who that is."""
        index_seq = servable.index_seq
        with self.metrics.stage("filter") if wish.categories or wish.attributes else nullcontext():
            allowed = self.allowed(servable, user, wish)
        with self.metrics.stage("search"):
            page = make_page(allowed, user.vector, wish, self.reading.exploration)
        answer = self.recommendation(servable, user, user_id, page, wish, index_seq, degraded)
        if wish.explain and user.vector is not None:
            with self.metrics.stage("explain"):
                return answer._replace(items=Explainer(servable, self.journal, user).explained(answer.items))
        return answer

    def allowed(self, servable: Servable, user: User, wish: Wish) -> Filter:
        """What may be shown to a user now."""
        return make_filter(
            servable,
            seen=() if wish.include_seen else user.interactions,
            trained=None if wish.include_seen else user.trained,
            exclude=wish.exclude,
            now=self.reading.clock(),
            categories=wish.categories,
            attributes=wish.attributes,
        )

    def recommendation(
        self,
        servable: Servable,
        user: User,
        user_id: str | None,
        page: Page,
        wish: Wish,
        index_seq: int,
        degraded: tuple[str, ...] = (),
    ) -> Recommendation:
        """A page as it is told; ``index_seq`` = the Servable's, before the page was made."""
        hits = page.hits
        more = page.more and len(wish.shown) + len(hits) < self.reading.max_shown
        places = self.labels.places(servable, hits)
        return Recommendation(
            user_id,
            _strategy(user, user_id),
            servable.version,
            index_seq,
            places,
            degraded + without(self.cache, servable),
            places.cursor(wish.shown) if more else None,
        )


def _strategy(user: User, user_id: str | None) -> Strategy:
    if user.vector is None:
        return "popular"
    return "session" if user_id is None else "personal"
