"""From a version in the model store to a Servable that knows everything the journal says."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from model_store import Bundle, IdMap, ModelStore
from service.checkpoints import Checkpoints
from service.domain import Matrix
from service.ports import Encoder, Featurizer, Journal, VectorIndex
from service.replay import Replay
from service.servable import Servable
from service.verification import verify

logger = logging.getLogger(__name__)

OpenEncoder = Callable[[Bundle], Encoder]
OpenFeaturizer = Callable[[Bundle], Featurizer | None]
BuildIndex = Callable[[IdMap, Matrix], VectorIndex]


@dataclass(frozen=True, slots=True)
class Engines:
    """How the engines of a model version are made."""

    open_encoder: OpenEncoder
    build_index: BuildIndex
    open_featurizer: OpenFeaturizer = lambda _: None
    close: Callable[[], object] = lambda: None  # ends what they do in the background


class Builder:
    """Builds Servables aside, on a thread of its own, one at a time.

    Args:
        store: holds the versions.
        journal: holds what was written online.
        replay: applies it.
        engines: run the versions.
        checkpoints: spare the journal's older part; None = all of it is read.
    """

    def __init__(
        self,
        store: ModelStore,
        journal: Journal,
        replay: Replay,
        engines: Engines,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.store = store
        self._journal = journal
        self._replay = replay
        self._engines = engines
        self._checkpoints = checkpoints
        self._limiter = CapacityLimiter(1)

    async def build(self, version: str) -> Servable:
        """A Servable that knows what was written up to now, and has shown that it works.

        Raises:
            ModelStoreError: the version is damaged, absent or of another format.
            ModelUnavailable: an engine cannot load it, or it fails its trial.
            StorageUnavailable: the journal cannot be read.
        """
        servable = await to_thread.run_sync(self._open, version, limiter=self._limiter)
        servable.followed = servable.checkpointed
        await self.catch_up(servable)
        await to_thread.run_sync(verify, servable, limiter=self._limiter)
        servable.bundle.let_go()  # every vector was looked at; searches mostly look at the engine's own copy
        return servable

    async def catch_up(self, servable: Servable) -> None:
        """Applies what was written since a Servable last knew everything.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        last = await to_thread.run_sync(self._journal.last_seq, limiter=self._limiter)
        known = servable.followed
        found = await self._replay.apply(servable, self._journal.latest(known), known)
        servable.followed = max(last, found)  # whatever comes after the last item's record is about users

    def _open(self, version: str) -> Servable:
        bundle = self.store.load(version)
        encoder = self._engines.open_encoder(bundle)
        index = self._engines.build_index(bundle.items, bundle.item_embeddings)
        featurizer = self._engines.open_featurizer(bundle)
        servable = Servable(bundle, encoder, index, featurizer=featurizer, watermark=self._watermark(bundle))
        if self._checkpoints:
            self._checkpoints.restore(servable)
        return servable

    def _watermark(self, bundle: Bundle) -> int:
        """The last ``seq`` of this journal that the training data contains; 0 where it came from another journal."""
        manifest = bundle.manifest
        watermark, limit = manifest.journal_watermark, self._journal.last_seq()
        trained_on = manifest.training.get("journal_identity")
        if isinstance(trained_on, str) and (common := self._journal.common(trained_on)) is not None:
            limit = min(limit, common)
        if watermark > limit:
            facts = {"version": bundle.version, "watermark": watermark, "common": limit}
            logger.warning("watermark_of_another_journal", extra=facts)
            return 0
        return watermark
