"""Checkpoints: what a Servable holds of the items written online, kept so that a start need not make it again.

A checkpoint and the latest records after it say the same as the latest records of all items, if it claims no record
that it lacks. A process cannot tell from its own memory alone: a write that was cut off between the journal and the
index is on disk, and no follower brings it, as it is its own. So what is claimed is compared with the journal itself,
when a checkpoint is written; and when one is read, its last states are, in case the journal was put back by other means
than ``restore`` and has grown again since.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from heapq import nlargest

import anyio
from anyio import CapacityLimiter, to_thread

from model_store import ModelStore
from service.domain import Basis, Checkpoint, Online, Record
from service.errors import StorageUnavailable
from service.handle import ServableHandle
from service.online import online
from service.ports import CheckpointStore, Journal
from service.servable import Servable

logger = logging.getLogger(__name__)

_COMPARED = 3  # states that must be the journal's own


class Checkpoints:
    """Takes checkpoints of Servables, and gives them to new ones.

    Args:
        kept: where checkpoints are.
        journal: that they are of.
        models: says which versions may be asked for again.
    """

    def __init__(self, kept: CheckpointStore, journal: Journal, models: ModelStore) -> None:
        self._kept = kept
        self._journal = journal
        self._models = models

    def restore(self, servable: Servable) -> int:
        """Gives a fresh Servable what its checkpoint holds; returns up to which ``seq`` that is, 0 where none fits."""
        try:
            checkpoint = self._kept.load(self._basis(servable))
            if checkpoint:
                self._check(checkpoint)
        except StorageUnavailable as exc:
            logger.warning("checkpoint_ignored", extra={"version": servable.version, "reason": str(exc)})
            return 0
        except Exception as exc:  # whatever it is: a checkpoint saves time, and must not cost anything else
            logger.exception("checkpoint_ignored", extra={"version": servable.version, "reason": repr(exc)})
            return 0
        if checkpoint is None:
            logger.info("checkpoint_ignored", extra={"version": servable.version, "reason": "there is none"})
            return 0
        servable.restore(checkpoint.online)
        servable.checkpointed = checkpoint.seq
        return checkpoint.seq

    def save(self, servable: Servable) -> bool:
        """Writes a checkpoint of a Servable, if items were written since the last; returns whether it did.

        Writers need not be held back: of what they are about to apply, nothing is claimed.

        Raises:
            StorageUnavailable: the journal cannot be read, or the checkpoint not be written.
            ModelStoreError: the versions cannot be listed.
        """
        followed = servable.followed  # before the states, which may then be later, but never earlier
        known = servable.known()
        changed = self._journal.changed(servable.checkpointed)
        seq = _claimed(followed, known, changed)
        if not changed or seq <= servable.checkpointed:
            return False
        self._kept.save(Checkpoint(self._basis(servable), seq, known))
        servable.checkpointed = seq
        published = {info.version for info in self._models.versions()}
        self._kept.prune(self._journal.identity, published | {servable.version})
        logger.info("checkpoint_written", extra={"version": servable.version, "items": len(known), "seq": seq})
        return True

    def _basis(self, servable: Servable) -> Basis:
        version, manifest = servable.identity
        return Basis(self._journal.identity, version, manifest, servable.watermark, servable.bundle.manifest.d)

    def _check(self, checkpoint: Checkpoint) -> None:
        """Compares the last states with the journal, those left out that were written since.

        Histories that have the same record in one place are the same up to there; so a few do for all before them.

        Raises:
            StorageUnavailable: the journal says otherwise.
        """
        if (last := self._journal.last_seq()) < checkpoint.seq:
            raise StorageUnavailable(f"expected a journal up to record {checkpoint.seq} or more, found {last}")
        since = self._journal.changed(checkpoint.seq)
        standing = (pair for pair in checkpoint.online.items() if pair[0] not in since)
        for item_id, state in nlargest(_COMPARED, standing, key=lambda pair: pair[1].seq):
            record = self._journal.find(item_id)
            if record is None or not _says(record, state):
                raise StorageUnavailable(f"expected record {state.seq} of item {item_id!r}, the journal has another")


class CheckpointWriter:
    """Keeps checkpoints of all that is live up to date.

    Args:
        checkpoints: are written.
        handle: says what is live.
    """

    def __init__(self, checkpoints: Checkpoints, handle: ServableHandle) -> None:
        self._checkpoints = checkpoints
        self._handle = handle
        self._limiter = CapacityLimiter(1)
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Makes it write at once; on the event loop."""
        self._woken.set()

    async def run(self, every_s: float) -> None:
        """Writes now and every ``every_s`` seconds, until cancelled."""
        while True:
            await self.save()
            with anyio.move_on_after(every_s):
                await self._woken.wait()
            self._woken = anyio.Event()

    async def finish(self, catch_up: Callable[[], Awaitable[None]]) -> None:
        """Writes for the last time, once nobody writes items any more; ``catch_up`` brings what others wrote."""
        try:
            await catch_up()
        except Exception:  # whatever it is: what is known can be written all the same
            logger.warning("journal_not_followed", exc_info=True)
        await self.save()

    async def save(self) -> None:
        """Writes a checkpoint of each version that is live, where items were written since. Trouble is logged."""
        for servable in self._handle.live:
            try:
                await to_thread.run_sync(self._checkpoints.save, servable, limiter=self._limiter)
            except Exception as exc:  # whatever it is: a checkpoint saves time, and must not cost anything else
                facts = {"version": servable.version, "reason": str(exc)}
                expected = isinstance(exc, StorageUnavailable)
                logger.warning("checkpoint_not_written", extra=facts, exc_info=not expected)


def _says(record: Record, state: Online) -> bool:
    """Whether a state is what a record says of its item; the encoding is not looked at."""
    return state._replace(encoding=None) == online(record, None)


def _claimed(followed: int, known: Mapping[str, Online], changed: Mapping[str, int]) -> int:
    """Up to which ``seq`` states are complete: to the last that was followed, or to before the first they lack.

    Args:
        followed: up to where others' records are among the states.
        known: the states.
        changed: item → latest ``seq``, read from the journal after both.
    """
    lacking = (
        seq
        for item_id, seq in changed.items()
        if seq <= followed and (item_id not in known or known[item_id].seq < seq)
    )
    return min(lacking, default=followed + 1) - 1
