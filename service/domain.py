"""What the service speaks about: frozen values, all ids external.

What every written item makes anew is a ``NamedTuple``: a frozen dataclass takes two to three times as long to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]
Strategy = Literal["personal", "session", "popular"]
NOTHING: Mapping[str, Any] = MappingProxyType({})
"""What an item has of modalities or attributes where it has none."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of which the model is to make features."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """The bytes of an image file of which the model is to make features."""

    data: bytes


Raw = Text | Image


class Item(NamedTuple):
    """An item as its owner describes it.

    Attributes:
        modalities: name → feature vector (d_m,) float32; absent modalities are simply not there.
        raw: name → what is to become a feature vector; never a name that is among the ``modalities``. Items that were
            written have none.
        made_by: name → checksum of the featurizer that made a vector; without those that came as vectors.
    """

    item_id: str
    modalities: Mapping[str, Vector] = NOTHING
    title: str | None = None
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, str | int | float | bool] = NOTHING
    available: bool = True
    hidden: bool = False
    expires_at: datetime | None = None
    raw: Mapping[str, Raw] = NOTHING
    made_by: Mapping[str, str] = NOTHING


class Encoding(NamedTuple):
    """What the encoder made of one item.

    Attributes:
        embedding: (d,) float32; score = inner product with a user vector.
        history_embedding: (d,) float32, the item's row on the user side; None where the model has none.
        confidence: in [0, 1]; 0 with none present, and as a rule lower as modalities go missing.
        present: names of the modalities that were used, alphabetical.
        missing: names of the model's modalities that were not there, alphabetical.
        model_version: the version that encoded.
    """

    embedding: Vector
    history_embedding: Vector | None
    confidence: float
    present: tuple[str, ...]
    missing: tuple[str, ...]
    model_version: str


class ModelIdentity(NamedTuple):
    """What tells a model version from all others, also from those of its name.

    Attributes:
        version: its name.
        manifest: sha256 of its manifest, and so of all its files.
    """

    version: str
    manifest: str


class EncodingReport(NamedTuple):
    """What an item's owner is told about its encoding.

    Attributes:
        confidence: as in ``Encoding``; None for an item whose vector was trained, not encoded.
    """

    present: tuple[str, ...]
    missing: tuple[str, ...]
    confidence: float | None
    model_version: str


class CatalogItem(NamedTuple):
    """An item as the catalogue holds it.

    Attributes:
        item: the description; its modalities are left out, their vectors stay in the journal and the bundle.
        seq: place of its latest record in the journal; 0 where only the model knows it.
    """

    item: Item
    report: EncodingReport
    seq: int


class PutItem(NamedTuple):
    """Journal entry: the item now reads like this.

    Attributes:
        since: the ``seq`` at which its features became what they are; 0 = they are those it was trained with, None =
            they are new with this entry. What a model has learned of an item holds as long as its features do.
    """

    item: Item
    since: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Journal entry: the item is gone."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Interact:
    """Journal entry: a user took to an item (implicit feedback).

    Attributes:
        kind: what the user did, in the client's words; kept for training, not interpreted when serving.
        at: when, by the client's clock; None = when it was written.
        event_id: a client's name for this event, unique for all time: the same one again changes nothing.
    """

    user_id: str
    item_id: str
    kind: str = "interaction"
    at: datetime | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class EraseUser:
    """Journal entry: all interactions of the user written before are erased, from the disk as well."""

    user_id: str


ItemEntry = PutItem | DeleteItem
UserEntry = Interact | EraseUser
Entry = ItemEntry | UserEntry


def item_of(entry: Entry) -> str | None:
    """The item whose state an entry changes; None for one about a user."""
    match entry:
        case PutItem(item):
            return item.item_id
        case DeleteItem(item_id):
            return item_id
        case _:
            return None


class Record(NamedTuple):
    """A journal entry with its place in the order of all entries (``seq`` ≥ 1) and its time of writing.

    Attributes:
        repeated: whether it had been written before, under the same event id.
    """

    seq: int
    at: datetime
    entry: Entry
    repeated: bool = False


class Online(NamedTuple):
    """What the journal says about one item; ``item`` is None once it is deleted.

    ``encoding`` is None where the vector that holds is the bundle's; ``digest`` stands for the features.
    """

    seq: int
    item: Item | None
    encoding: Encoding | None
    since: int
    digest: bytes

    @property
    def listed(self) -> bool:
        """Whether its owner wants it shown, whatever the time."""
        return self.item is not None and self.item.available and not self.item.hidden


@dataclass(frozen=True, slots=True)
class Basis:
    """What a checkpoint stands on: where one of these is another, it says nothing.

    Attributes:
        journal: identity of the journal.
        version: of the model.
        manifest: sha256 of the version's manifest, and so of all its files.
        watermark: last ``seq`` of the journal that counts as trained on.
        d: embedding size.
    """

    journal: str
    version: str
    manifest: str
    watermark: int
    d: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a model version holds of the items written online.

    Attributes:
        seq: every record up to this one is part of it, or made void by a later one.
        online: item id → what the journal says; may know later records as well.
    """

    basis: Basis
    seq: int
    online: Mapping[str, Online]


@dataclass(frozen=True, slots=True)
class LikedItem:
    """An item of the history, and what it gives to a score."""

    item_id: str
    title: str | None
    contribution: float


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why an item stands in a list.

    Attributes:
        liked: items of the history that give most to its score, the most first.
        modalities: by how much its score falls without each modality; None where it stands by clicks, not by content.
    """

    liked: tuple[LikedItem, ...]
    modalities: Mapping[str, float] | None


class Suggestion(NamedTuple):
    """One place in a recommendation; ``reasons`` only where they were asked for."""

    item_id: str
    score: float
    title: str | None
    reasons: Reasons | None = None


class Recommendation(NamedTuple):
    """A list, best first; scores never rise from one place to the next.

    Attributes:
        user_id: whom it is for; None for a session.
        next_cursor: asks for what follows; None where nothing does.
    """

    user_id: str | None
    strategy: Strategy
    model_version: str
    index_seq: int
    items: Sequence[Suggestion]
    degraded: tuple[str, ...] = ()
    next_cursor: str | None = None
