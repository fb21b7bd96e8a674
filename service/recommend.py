"""The read use cases: what for this user, for this session, beside this item?"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter

from service.domain import Recommendation
from service.errors import UnknownItem
from service.fast_path import FastPath
from service.handle import ServableHandle
from service.impressions import Impressions, note_shown
from service.lists import Wish
from service.making import Making
from service.queueing import in_thread
from service.servable import Servable
from service.users import User, session_user

_Made = tuple[Servable, Recommendation]


class Recommender:
    """Answers questions from whatever Servable serves when they begin.

    Args:
        handle: says what serves.
        making: makes the lists.
        impressions: counts what is shown.
        fast_path: is tried first for single users; None = every list is made.
    """

    def __init__(
        self, handle: ServableHandle, making: Making, impressions: Impressions, fast_path: FastPath | None = None
    ) -> None:
        self._handle = handle
        self._making = making
        self._impressions = impressions
        self._fast_path = fast_path

    async def for_user(self, user_id: str, wish: Wish, *, strict: bool = False) -> Recommendation:
        """The list for one user.

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
            UnknownUser: ``strict``, and neither the model nor the journal knows the user.
            StorageUnavailable: ``strict``, and only the journal, which cannot be read now, may know the user.
        """
        given = await self._fast_path.quickly(user_id, wish) if self._fast_path else None
        return given.answer if given else (await self.for_users([user_id], wish, strict=strict))[0]

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
            make, pairs = self._making.for_user, zip(servables, user_ids, strict=True)
            return [(servable, make(servable, user_id, wish, strict=strict)) for servable, user_id in pairs]

        answers = await self._counted(answer)
        for user_id, each in zip(user_ids, answers, strict=True):
            self._impressions.count_arm(user_id, wish, each)
        return answers

    async def for_session(self, history: Sequence[str], wish: Wish) -> Recommendation:
        """The list for somebody without a name, by what they did (item ids, oldest first).

        Raises:
            ModelUnavailable: nothing serves.
            ModelNotServing: another version serves than the wish names.
        """
        servable = self._handle.serving(wish.model)

        def answer() -> list[_Made]:
            return [(servable, self._making.answer(servable, session_user(servable, history), wish))]

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
            tells = fan.vector is not None or not own.any()
            known = fan if tells else User(servable, own, [item_id])
            return [(servable, self._making.answer(servable, known, others))]

        return (await self._counted(answer))[0]

    async def _counted(self, make: Callable[[], list[_Made]]) -> list[Recommendation]:
        """Makes lists that are shown, and counts what is shown in them."""

        def answer() -> list[Recommendation]:
            started = perf_counter()
            made = make()
            seconds = (perf_counter() - started) / max(1, len(made))
            for servable, each in made:
                self._impressions.count(each, note_shown(servable, each))
                self._making.metrics.shown.made(each.strategy, seconds)
            return [each for _, each in made]

        reading = self._making.reading
        return await in_thread(answer, reading.searches, reading.max_waiting)
