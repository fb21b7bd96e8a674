"""The journal's records, as the service writes them: JSON, with vectors as base64 of little-endian float32."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

_FORMAT = 1
_LITTLE_ENDIAN = np.dtype("<f4")
# What a payload that is none of ours can make us run into.
_FOREIGN = (ValueError, KeyError, TypeError, AttributeError, binascii.Error)


class ForeignRecord(Exception):
    """A record of the journal is none that the service writes."""

    def __init__(self, seq: int, reason: object) -> None:
        super().__init__(f"record {seq} is none of the service's: {reason!r}")


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """An item as its owner describes it.

    Attributes:
        title: None where it has none.
        categories: names.
        attributes: name → value.
        modalities: name → (d_m,) float32; those it lacks are not there.
        made_by: modality → sha256 of the featurizer that made its vector; without those that came as vectors.
        since: number of the record that its features came with; 0 where they are those a model was trained with, which
            no record brought.
        shown: whether its owner wants it shown for now: available and not hidden.
        expires_at: when it is no longer to be shown; None = never.
    """

    title: str | None
    categories: tuple[str, ...]
    attributes: Mapping[str, str | int | float | bool]
    modalities: Mapping[str, NDArray[np.float32]]
    made_by: Mapping[str, str]
    since: int
    shown: bool
    expires_at: datetime | None


def read_item(seq: int, kind: str, payload: str) -> ItemRecord | None:
    """What a record says of its item; None where it deletes it.

    Raises:
        ForeignRecord: it is none of the service's.
    """
    try:
        facts = _facts(payload)
        if kind == "delete":
            return None
        if kind != "put":
            raise ValueError(f"expected put or delete, found {kind!r}")
        return ItemRecord(
            title=facts["title"],
            categories=tuple(facts["categories"]),
            attributes=facts["attributes"],
            modalities={name: _vector(text) for name, text in facts["modalities"].items()},
            made_by=facts.get("made_by", {}),  # records of old have none
            since=_since(facts.get("since"), seq),
            shown=facts["available"] and not facts["hidden"],
            expires_at=datetime.fromisoformat(facts["expires_at"]) if facts["expires_at"] else None,
        )
    except _FOREIGN as exc:
        raise ForeignRecord(seq, exc) from exc


def read_times(seqs: Sequence[int], written: Sequence[str], payloads: Sequence[str]) -> NDArray[np.float64]:
    """When users did what some records say, (n,) float64 seconds since 1970.

    Args:
        seqs: the records' numbers.
        written: when each was written, which holds where the client did not say when it happened.
        payloads: the records.

    Raises:
        ForeignRecord: one is none of the service's.
    """
    times = np.empty(len(seqs))
    for k, payload in enumerate(payloads):
        try:
            times[k] = datetime.fromisoformat(_facts(payload)["at"] or written[k]).timestamp()
        except _FOREIGN as exc:
            raise ForeignRecord(seqs[k], exc) from exc
    return times


def _since(value: object, seq: int) -> int:
    """The ``since`` of a record; without one its features are new with it."""
    if value is None:
        return seq
    if type(value) is not int:
        raise TypeError(f"expected a number as since, found {value!r}")
    return value


def _facts(payload: str) -> dict[str, Any]:
    facts: dict[str, Any] = orjson.loads(payload)
    if facts["format"] != _FORMAT:
        raise ValueError(f"expected format {_FORMAT}, found {facts['format']!r}")
    return facts


def _vector(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=_LITTLE_ENDIAN).astype(np.float32)
