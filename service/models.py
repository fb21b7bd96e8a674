"""The use cases of operators: which model versions there are, and which one is to serve."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from anyio import to_thread

from model_store import BundleNotFound, Challenger, ModelStore, ModelStoreError
from service.errors import NoOlderModel, StorageUnavailable, UnknownModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the model store holds.

    Attributes:
        versions: all published ones, oldest first.
        promoted: the one that is to serve; None where none is.
        failed: the one that was promoted and cannot serve here.
        challenger: the one that is to be tried beside it; None where none is.
    """

    versions: list[str]
    promoted: str | None
    failed: "LoadFailure | None" = None
    challenger: Challenger | None = None


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A version that could not be made to serve, and why; None where it is not known which one is promoted."""

    version: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version was promoted; ``before`` is the one that was until then."""

    version: str
    before: str | None


class Models:
    """Looks into the model store and moves what is promoted there."""

    def __init__(
        self,
        store: ModelStore,
        refresh: Callable[[], Awaitable[None]],
        failure: Callable[[], LoadFailure | None] = lambda: None,
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._failure = failure

    async def listing(self) -> Listing:
        """What there is.

        Raises:
            StorageUnavailable: the model store cannot be read.
        """

        def look() -> Listing:
            versions = [info.version for info in reversed(self._store.versions())]
            return Listing(versions, self._store.current(), self._failure(), self._store.challenger())

        return await self._in_thread(look)

    async def promote(self, version: str) -> Promotion:
        """Promotes a version and lets it serve if it can be built.

        Raises:
            UnknownModel: there is no such version.
            StorageUnavailable: the model store cannot be read or written.
        """

        def promote() -> Promotion:
            before = self._store.current()
            self._store.promote(version)
            return Promotion(version, before)

        try:
            promotion = await self._in_thread(promote)
        except BundleNotFound as exc:
            raise UnknownModel(version) from exc
        await self._refresh()
        return promotion

    async def roll_back(self) -> Promotion:
        """Promotes the version that was promoted before the current one.

        Raises:
            NoOlderModel: there is none.
            StorageUnavailable: the model store cannot be read or written.
        """

        def roll_back() -> Promotion:
            before = self._store.current()
            return Promotion(self._store.rollback(), before)

        try:
            promotion = await self._in_thread(roll_back)
        except BundleNotFound as exc:
            raise NoOlderModel from exc
        await self._refresh()
        return promotion

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await to_thread.run_sync(call)
        except BundleNotFound:
            raise
        except (ModelStoreError, OSError) as exc:
            raise StorageUnavailable(f"the model store: {exc}") from exc
