"""The read use case: what for this user?

Whom the model knows is served personally: the items of highest inner product with their vector, ties by id.

Everyone else, users without a history included, is served the popular list: items of the model by their popularity in
the training data, ties by id, where every ``explore_every``-th place goes to an item the model was not trained on, the
latest written first, as long as there is one. Such an item has no popularity yet: its score is that of the trained item
before it (where it leads the list, of the one after it; 0 where there is none), so scores never rise along the list.
When the trained items are used up, the remaining new ones follow. A list is always the beginning of the longer list.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from anyio import CapacityLimiter, to_thread

from service.domain import Hit, Recommendation, Strategy, Suggestion, Vector
from service.errors import UnknownUser
from service.filters import Filter, make_filter
from service.observability import Metrics
from service.ports import FeatureCache
from service.servable import Servable, ServableHandle
from service.users import find_user


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    Attributes:
        k: list length.
        exclude: ids that must not be in the list.
        include_seen: whether items the user has interacted with may be in the list.
        strict: refuse users nobody knows instead of serving them the popular list.
    """

    user_id: str
    k: int
    exclude: frozenset[str] = frozenset()
    include_seen: bool = False
    strict: bool = False


def utc_now() -> datetime:
    """The time, with zone."""
    return datetime.now(UTC)


class Recommender:
    """Answers queries from whatever Servable serves when they begin."""

    def __init__(
        self,
        handle: ServableHandle,
        cache: FeatureCache,
        metrics: Metrics,
        limiter: CapacityLimiter,
        *,
        explore_every: int,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._handle = handle
        self._cache = cache
        self._metrics = metrics
        self._limiter = limiter
        self._explore_every = explore_every
        self._clock = clock

    async def recommend(self, query: Query) -> Recommendation:
        """The list for one user.

        Raises:
            ModelUnavailable: nothing serves.
            UnknownUser: the query is strict and the model does not know the user.
        """
        servable = self._handle.current
        answer = await to_thread.run_sync(self._answer, servable, query, limiter=self._limiter)
        self._metrics.recommendations.labels(answer.strategy).inc()
        return answer

    def _answer(self, servable: Servable, query: Query) -> Recommendation:
        index_seq = servable.index_seq
        user = find_user(servable, query.user_id)
        if user is None and query.strict:
            raise UnknownUser(query.user_id)
        seen = user.seen if user and not query.include_seen else ()
        allowed = make_filter(servable, seen=seen, exclude=query.exclude, now=self._clock())
        # A user without a history has a zero vector, to which all items are alike.
        taste = user.vector if user and user.vector.any() else None
        with self._metrics.stage("search"):
            if taste is None:
                hits = _popular(allowed, query.k, self._explore_every)
            else:
                hits = _personal(allowed, taste, query.k)
        strategy: Strategy = "popular" if taste is None else "personal"
        return Recommendation(
            query.user_id,
            strategy,
            servable.version,
            index_seq,
            [Suggestion(hit.item_id, hit.score, servable.title(hit.item_id)) for hit in hits],
            () if self._cache.healthy else ("cache",),
        )


def _personal(allowed: Filter, taste: Vector, k: int) -> list[Hit]:
    blocked = allowed.blocked
    while True:
        hits = allowed.servable.index.search(taste, k, exclude=blocked)
        # A writer may be between its two steps (state, then index): what it takes away is searched around.
        gone = {hit.item_id for hit in hits if not allowed.allows(hit.item_id)}
        if not gone:
            return hits
        blocked |= gone


def _popular(allowed: Filter, k: int, explore_every: int) -> list[Hit]:
    trained = (pair for pair in allowed.servable.popular() if allowed.allows(pair[0]))
    new = (item_id for item_id in allowed.servable.newest() if allowed.allows(item_id))
    return list(islice(_interleave(trained, new, explore_every), k))


def _interleave(trained: Iterator[tuple[str, float]], new: Iterator[str], every: int) -> Iterator[Hit]:
    score: float | None = None
    place = 1
    for item_id, popularity in trained:
        while every and place % every == 0 and (explored := next(new, None)) is not None:
            yield Hit(explored, popularity if score is None else score)
            place += 1
        score = popularity
        yield Hit(item_id, score)
        place += 1
    yield from (Hit(item_id, score or 0.0) for item_id in new)
