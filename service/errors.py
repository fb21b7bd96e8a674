"""Errors of the service. They know no HTTP; ``api/problems.py`` maps them to statuses.

RecommenderError
├── UnknownItem              no such item, or deleted
├── UnknownUser              no such user, and the caller insisted on a known one
├── UnknownModel             no such model version in the model store
├── ModelNotServing          the version that is asked for does not serve
├── NoOlderModel             nothing was promoted before the current version
├── UnreadableModel          a version of a format that this service does not read
├── InvalidCursor            a cursor that was never given
├── InvalidItem              an item the current model cannot take
│   ├── UnknownModality      the model has no modality of this name
│   ├── DimensionMismatch    a vector of another length than the model's d_m
│   └── NotFinite            NaN or infinity in a vector
├── PreconditionFailed       the item is not as the caller expects it
├── ItemMoved                another process has written the item meanwhile
├── ModelUnavailable         nothing is promoted, or the promoted version cannot be loaded
├── UnknownRecord            a record is named that was never written
├── NotReachedYet            what the caller wants to see is not here yet
├── EncodingFailed           the encoder refused a sound item
├── Overloaded               more waits already than may wait
└── StorageUnavailable       the journal cannot take or give records now
    └── StorageFull          there is no room left
"""


def json_pointer(*parts: str | int) -> str:
    """The JSON pointer (RFC 6901) of a path into a document.

    >>> json_pointer("modalities", "a/b", 3)
    '/modalities/a~1b/3'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


class RecommenderError(Exception):
    """Anything the service refuses to do."""


class UnknownItem(RecommenderError):
    """The catalogue holds no such item."""

    def __init__(self, item_id: str) -> None:
        self.item_id = item_id
        super().__init__(f"no item {item_id!r} in the catalogue")


class UnknownUser(RecommenderError):
    """Neither the model nor the journal knows the user."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        super().__init__(f"no user {user_id!r}")


class UnknownModel(RecommenderError):
    """The model store holds no such version."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(f"no model version {version!r}")


class ModelNotServing(RecommenderError):
    """Another version serves than the one that is asked for."""

    def __init__(self, version: str, serving: str) -> None:
        self.version = version
        self.serving = serving
        super().__init__(f"model version {version!r} does not serve: {serving!r} does")


class NoOlderModel(RecommenderError):
    """Nothing was promoted before the current version."""

    def __init__(self) -> None:
        super().__init__("no version was promoted before the current one")


class UnreadableModel(RecommenderError):
    """A version is of a format that this service does not read."""

    def __init__(self, version: str, reason: str) -> None:
        self.version = version
        super().__init__(f"model version {version!r} cannot serve here: {reason}")


class InvalidCursor(RecommenderError):
    """A cursor that this service never gave; ``reason`` says what was expected."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class InvalidItem(RecommenderError):
    """An item that contradicts the current model; ``pointer`` is the JSON pointer of the offending part."""

    def __init__(self, pointer: str, reason: str) -> None:
        self.pointer = pointer
        self.reason = reason
        super().__init__(f"{pointer}: {reason}")


class UnknownModality(InvalidItem):
    """The model has no modality of this name."""

    def __init__(self, pointer: str, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(pointer, f"unknown modality {name!r}: the model knows {', '.join(known) or 'none'}")


class DimensionMismatch(InvalidItem):
    """A modality's vector has another length than the model's."""

    def __init__(self, pointer: str, expected: int, found: int) -> None:
        self.expected = expected
        self.found = found
        super().__init__(pointer, f"expected {expected} numbers, found {found}")


class NotFinite(InvalidItem):
    """A modality's vector holds NaN or infinity, or a number float32 cannot hold."""

    def __init__(self, pointer: str) -> None:
        super().__init__(pointer, "expected finite float32 numbers")


class PreconditionFailed(RecommenderError):
    """The item is not as the caller expects it; ``seq`` is that of its latest record, None where there is no item."""

    def __init__(self, item_id: str, seq: int | None) -> None:
        self.item_id = item_id
        self.seq = seq
        found = "there is no such item" if seq is None else f"its latest record is {seq}"
        super().__init__(f"item {item_id!r} is not as expected: {found}")


class ItemMoved(RecommenderError):
    """The latest record of the item is another one than its writer knew; nothing was written."""

    def __init__(self, item_id: str, seq: int) -> None:
        self.item_id = item_id
        self.seq = seq
        super().__init__(f"item {item_id!r} was written by another process meanwhile: its latest record is {seq}")


class UnknownRecord(RecommenderError):
    """The caller names a record that the journal does not have."""

    def __init__(self, seq: int, last: int) -> None:
        self.seq = seq
        self.last = last
        super().__init__(f"there is no record {seq}: the last one is {last}")


class NotReachedYet(RecommenderError):
    """The caller wants to see everything up to a record that is not here yet."""

    def __init__(self, seq: int, found: int) -> None:
        self.seq = seq
        self.found = found
        super().__init__(f"record {seq} has not arrived here yet: the last one that has is {found}")


class ModelUnavailable(RecommenderError):
    """No model version serves."""


class EncodingFailed(RecommenderError):
    """The encoder failed on an item that passed all checks."""


class StorageUnavailable(RecommenderError):
    """The journal cannot be written or read now; nothing was changed."""


class StorageFull(StorageUnavailable):
    """There is no room left for the journal; nothing was changed. Reading goes on."""


class Overloaded(RecommenderError):
    """As much waits already as may wait; nothing was done, and it may be asked again soon."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(f"{waiting} requests are waiting already")
