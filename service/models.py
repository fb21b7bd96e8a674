"""The use cases of operators: which model versions there are, and which one is to serve."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from anyio import to_thread

from model_store import BundleNotFound, Challenger, IncompatibleBundle, ModelStore, ModelStoreError, NothingEarlier
from service.errors import NoOlderModel, StorageUnavailable, UnknownModel, UnreadableModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the model store holds.

    Attributes:
        versions: all published ones, oldest first.
        promoted: the one that is to serve; None where none is.
        failed: the one that was promoted and cannot serve here.
        challenger: the one that is to be tried beside it; None where none is, or that is not known.
        trial_failed: a challenger that cannot be tried here.
    """

    versions: list[str]
    promoted: str | None
    failed: "LoadFailure | None" = None
    challenger: Challenger | None = None
    trial_failed: "LoadFailure | None" = None


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A version that could not be made to serve, or put on trial, and why; None where it is not known which one."""

    version: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version was promoted; ``before`` is the one that was until then."""

    version: str
    before: str | None


class Models:
    """Looks into the model store and moves what is promoted there.

    Args:
        store: holds the versions.
        settle: makes what is promoted serve, or gives up waiting for it.
        failure: the promoted version that cannot serve here.
        trial_failure: the challenger that cannot be tried here.
    """

    def __init__(
        self,
        store: ModelStore,
        settle: Callable[[], Awaitable[None]],
        failure: Callable[[], LoadFailure | None] = lambda: None,
        trial_failure: Callable[[], LoadFailure | None] = lambda: None,
    ) -> None:
        self._store = store
        self._settle = settle
        self._failure = failure
        self._trial_failure = trial_failure

    async def listing(self) -> Listing:
        """What there is.

        Raises:
            StorageUnavailable: the model store cannot be read.
        """

        def look() -> Listing:
            versions = [info.version for info in reversed(self._store.versions())]
            challenger, trial_failed = None, self._trial_failure()
            try:
                challenger = self._store.challenger()
            except ModelStoreError as exc:  # of no consequence to what serves
                trial_failed = LoadFailure(None, str(exc))
            return Listing(versions, self._store.current(), self._failure(), challenger, trial_failed)

        return await self._in_thread(look)

    async def promote(self, version: str) -> Promotion:
        """Promotes a version and lets it serve if it can be built.

        Raises:
            UnknownModel: there is no such version.
            UnreadableModel: it is of a format that this service does not read.
            StorageUnavailable: the model store cannot be read or written, or is being changed by somebody else.
        """

        def promote() -> Promotion:
            before = self._store.current()
            self._store.promote(version)
            return Promotion(version, before)

        try:
            promotion = await self._in_thread(promote)
        except BundleNotFound as exc:
            raise UnknownModel(version) from exc
        except IncompatibleBundle as exc:
            raise UnreadableModel(version, str(exc)) from exc
        await self._settle()
        return promotion

    async def roll_back(self) -> Promotion:
        """Promotes the version that was promoted before the current one.

        Raises:
            NoOlderModel: there is none.
            StorageUnavailable: the model store cannot be read or written, or is being changed by somebody else.
        """

        def roll_back() -> Promotion:
            before = self._store.current()
            return Promotion(self._store.rollback(), before)

        try:
            promotion = await self._in_thread(roll_back)
        except NothingEarlier as exc:
            raise NoOlderModel from exc
        await self._settle()
        return promotion

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await to_thread.run_sync(call)
        except (BundleNotFound, IncompatibleBundle, NothingEarlier):
            raise
        except (ModelStoreError, OSError) as exc:
            raise StorageUnavailable(f"the model store: {exc}") from exc
