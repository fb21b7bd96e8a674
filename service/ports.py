"""What the use cases need of the outside world, as Protocols. Implementations live in ``adapters``.

Each port is either synchronous (called on worker threads) or asynchronous (called on the event loop), never both.
Every implementation passes the conformance suite of its port in ``tests/service/adapters``.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from service.domain import Basis, Checkpoint, Encoding, Entry, Matrix, ModelIdentity, Raw, Record, Vector
from service.errors import ItemMoved, StorageUnavailable
from service.queries import Hits, IndexState, Mark, Query


class Encoder(Protocol):
    """Turns raw features, however many of them exist, into embeddings. Synchronous and thread-safe."""

    def encode(self, items: Sequence[Mapping[str, Vector]]) -> list[Encoding]:
        """Encodes a batch of items, each given as modality name → (d_m,) float32; order is kept.

        Raises:
            EncodingFailed: the engine failed, or gave something that is not finite.
        """
        ...


class Featurizer(Protocol):
    """Makes features of raw texts and images, as those the model was trained on were made. Synchronous, thread-safe."""

    def features(self, modality: str, raw: Raw) -> Vector:
        """The features (d_m,) float32 of a text or an image.

        Raises:
            InvalidItem: the model makes no features of that kind for this modality, or the image cannot be read.
            EncodingFailed: the engine failed, or gave something that is not finite.
        """
        ...


class VectorIndex(Protocol):
    """Exact maximum-inner-product search over items. Synchronous and thread-safe."""

    def upsert(self, item_ids: Sequence[str], vectors: Matrix) -> None:
        """Adds or replaces items, (n, d) float32; searches that start afterwards see them."""
        ...

    def remove(self, item_ids: Collection[str]) -> None:
        """Removes items; unknown ids are ignored. Searches that start afterwards never return them."""
        ...

    def search(
        self, query: Vector, k: int, *, exclude: Collection[str] = (), allow: Collection[str] | None = None
    ) -> Hits:
        """The k best items by inner product, best first, ties by id ascending.

        Args:
            query: (d,) float32.
            k: list length; the result is shorter only where fewer items may be returned.
            exclude: ids that must not be returned; unknown ids are ignored.
            allow: where given, only these ids may be returned.
        """
        ...

    def search_many(self, queries: Sequence[Query]) -> list[Hits]:
        """The same for several queries, all answered from the same state of the index."""
        ...

    def recall(self, query: Query) -> Hits | None:
        """What a search for a query with a key would find now, where that is known without one; takes no time."""
        ...

    def holds(self, query: Query, hits: Hits, since: Mark) -> Mark | None:
        """Whether what was found for a query is what would be found now; takes no time.

        Args:
            query: with a key.
            hits: what was found for it.
            since: until then that is known to be right.

        Returns:
            Until when it is known by now; None where it may be right no longer.
        """
        ...

    @property
    def healthy(self) -> bool:
        """Whether it searches as it should; otherwise it finds the same, and is slower."""
        ...

    @property
    def state(self) -> IndexState:
        """What it is made of now; takes no time."""
        ...

    def __len__(self) -> int: ...


class Journal(Protocol):
    """The record of truth: an ordered, durable log of everything written online. Thread-safe.

    Writes that wait at the same moment share one flush to disk (group commit).
    """

    @property
    def identity(self) -> str:
        """A random name made with the journal: what is kept elsewhere under a ``seq`` belongs to this journal only."""
        ...

    def common(self, identity: str) -> int | None:
        """Up to which ``seq`` the records here are those of the journal of that identity; None = all of them.

        That is 0 for a stranger, and more for the journal that this one is a restored copy of.
        """
        ...

    def append(self, entry: Entry, *, expected: int | None = None) -> Future[Record]:
        """Writes an entry. The future resolves once it is on disk, or raises StorageUnavailable and wrote nothing.

        Where ``expected`` is given, it must be the ``seq`` of the latest record of the entry's item, 0 if there is
        none; otherwise the future raises ItemMoved and nothing was written.

        An interaction whose event id is known already is not written again; its first record, ``repeated``, is the
        answer.
        """
        ...

    def append_all(
        self, entries: Sequence[tuple[Entry, int | None]]
    ) -> "Future[list[Record | ItemMoved | StorageUnavailable]]":
        """Writes entries in their order, each with what is ``expected`` of it, as ``append`` would; for all at once.

        The future resolves once they are on disk, with what came of each in place of what ``append`` would raise.
        """
        ...

    def read(self, after: int = 0) -> Iterator[Record]:
        """All records with ``seq > after``, in order.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def read_others(self, after: int) -> Iterator[Record]:
        """The records with ``seq > after`` that were not written through this very object, in order.

        A record is never seen before one with a smaller ``seq`` that it will be seen beside later.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def latest(self, after: int = 0) -> Iterator[Record]:
        """The latest record of every item ever written, ordered by ``seq``: enough to rebuild the catalogue.

        Interactions are not among them, nor records up to ``after``.

        Where others write meanwhile, an item may come twice; the later record is the one that holds.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def changed(self, after: int) -> dict[str, int]:
        """The items that were written since the record ``after``, each with the ``seq`` of its latest record.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def find(self, item_id: str) -> Record | None:
        """The latest record of an item, its features included; None where it was never written.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def history(self, user_id: str, limit: int) -> list[str]:
        """The items of a user's interactions, each once, by the latest with it, oldest first; the latest ``limit``.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def users(self) -> Iterator[str]:
        """Everybody about whom there is a record, each once.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def users_of_others(self, after: int) -> set[str]:
        """About whom records with ``seq > after`` were written, not through this very object.

        Raises:
            StorageUnavailable: the journal cannot be read.
        """
        ...

    def compact(self) -> int:
        """Removes item records that a later record of the same item has made void; returns how many.

        What ``latest``, ``find`` and ``history`` say stays as it was; writes may go on meanwhile.

        Raises:
            StorageUnavailable: the journal cannot be written.
        """
        ...

    def last_seq(self) -> int:
        """The highest ``seq`` on disk; 0 for an empty journal."""
        ...

    def close(self) -> None:
        """Finishes pending writes and lets go of the storage."""
        ...


class CheckpointStore(Protocol):
    """Keeps the latest checkpoint of each journal and model version. Synchronous. Losing all of them loses nothing.

    Several processes may share one: what is loaded is always whole.
    """

    def load(self, basis: Basis) -> Checkpoint | None:
        """The checkpoint of a journal and version; None where there is none.

        Raises:
            StorageUnavailable: it cannot be read, is damaged, or stands on another basis.
        """
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Puts a checkpoint in the place of the one before.

        Raises:
            StorageUnavailable: it cannot be written; the one before is as it was.
        """
        ...

    def prune(self, journal: str, versions: Collection[str]) -> None:
        """Removes the checkpoints of a journal that are of none of these versions, and what was left half written.

        Raises:
            StorageUnavailable: something cannot be removed.
        """
        ...


class Wakeups(Protocol):
    """Lets processes that share a journal tell each other that something is new. Messages may be lost."""

    def wrote(self) -> None:
        """Notes that something was written here; from any thread."""
        ...

    async def tell(self, journal: str) -> None:
        """Tells the others whenever something was written to the journal of this identity, until cancelled."""
        ...

    async def listen(self, journal: str, wake: Callable[[], object]) -> None:
        """Calls ``wake`` whenever another process has written to that journal, until cancelled."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...


class FeatureCache(Protocol):
    """Encodings by (model, item, seq), kept outside the process. Asynchronous. Losing all of it loses nothing.

    No method raises for trouble with the cache itself: a miss is the answer, and ``healthy`` says so.
    """

    async def get_many(self, model: ModelIdentity, keys: Sequence[tuple[str, int]]) -> list[Encoding | None]:
        """The cached encodings of (item_id, seq) pairs, finite and with a confidence in [0, 1]; None for each miss.

        Whether they can be that model's, by their shape for one, is for the caller to see.
        """
        ...

    async def put_many(self, model: ModelIdentity, encodings: Mapping[tuple[str, int], Encoding]) -> None:
        """Stores encodings that this model made, by (item_id, seq)."""
        ...

    async def ping(self) -> bool:
        """Whether the cache answers now."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether the last operations went well."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...
