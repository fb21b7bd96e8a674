"""A checkpoint as bytes: a line of facts, the vectors, lines of descriptions, and a checksum over all of it.

```
{"format": 1, "journal": …, "version": …, "manifest": …, "watermark": …, "d": …, "seq": …, "names": …, …}
embeddings          vectors × d little-endian float32
history embeddings  histories × d little-endian float32, of those that have one
[[item id, seq, since, digest, description or null, pattern or null, confidence, has history], …]
sha256 of everything before, 32 bytes
```

A pattern is a place among the ``names``, which are pairs of the modalities that were present and missing; an item
without an encoding has none.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, BinaryIO, TypeVar

import numpy as np
import orjson

from service.adapters.records import description_of, item_without_features
from service.domain import Basis, Checkpoint, Encoding, Matrix, Online, Vector

_FORMAT = 1
_LITTLE_ENDIAN = np.dtype("<f4")
_SOME = 128  # so that no single step keeps other threads waiting, nor leaves much to the garbage collector
_CHUNK = 1 << 20
_DIGEST_BYTES = hashlib.sha256().digest_size

T = TypeVar("T")
_Names = tuple[tuple[str, ...], tuple[str, ...]]


def write_checkpoint(file: BinaryIO, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint at the beginning of an empty file."""
    checksum = hashlib.sha256()
    for part in _parts(checkpoint):
        checksum.update(part)
        file.write(part)
    file.write(checksum.digest())


def read_checkpoint(file: BinaryIO, basis: Basis) -> Checkpoint:
    """The checkpoint a file holds; nothing of it is believed before all of it was checked.

    Raises:
        OSError: the file cannot be read.
        ValueError, LookupError, TypeError, AttributeError, StopIteration: it is not whole, of another format, or
            stands on another basis.
    """
    _check(file)
    facts = orjson.loads(file.readline())
    if facts["format"] != _FORMAT:
        raise ValueError(f"expected format {_FORMAT}, found {facts['format']!r}")
    found = {name: facts[name] for name in asdict(basis)}
    if found != asdict(basis):
        raise ValueError(f"expected {asdict(basis)}, found {found}")
    vectors = _Vectors(
        iter(_read_matrix(file, facts["vectors"], basis.d)),
        iter(_read_matrix(file, facts["histories"], basis.d)),
        [(tuple(present), tuple(missing)) for present, missing in facts["names"]],
    )
    lines = (orjson.loads(file.readline()) for _ in range(facts["lines"]))
    online = {row[0]: _state(row, vectors, basis.version) for line in lines for row in line}
    return Checkpoint(basis, facts["seq"], online)


@dataclass(frozen=True, slots=True)
class _Vectors:
    """Vectors in the order in which they were written, and the names that go with them."""

    embeddings: Iterator[Vector]
    histories: Iterator[Vector]
    names: Sequence[_Names]


def _parts(checkpoint: Checkpoint) -> Iterator[bytes]:
    online, d = checkpoint.online, checkpoint.basis.d
    encodings = [state.encoding for state in online.values() if state.encoding]
    histories = [each.history_embedding for each in encodings if each.history_embedding is not None]
    names = list({(each.present, each.missing): None for each in encodings})
    patterns = {pair: place for place, pair in enumerate(names)}
    facts = {
        "format": _FORMAT,
        **asdict(checkpoint.basis),
        "seq": checkpoint.seq,
        "names": names,
        "vectors": len(encodings),
        "histories": len(histories),
        "lines": -(-len(online) // _SOME),
    }
    yield orjson.dumps(facts) + b"\n"
    yield from _vectors((each.embedding for each in encodings), d)
    yield from _vectors(histories, d)
    for some in _batches(online.items()):
        yield orjson.dumps([_row(item_id, state, patterns) for item_id, state in some]) + b"\n"


def _vectors(vectors: Iterable[Vector], d: int) -> Iterator[bytes]:
    for some in _batches(vectors):
        rows = np.stack(some)
        if rows.shape[1:] != (d,):
            raise ValueError(f"expected vectors of {d} numbers, found {rows.shape[1:]}")
        yield rows.astype(_LITTLE_ENDIAN).tobytes()


def _row(item_id: str, state: Online, patterns: Mapping[_Names, int]) -> tuple[object, ...]:
    description = state.item and description_of(state.item)
    facts = (item_id, state.seq, state.since, state.digest.hex(), description)
    if state.encoding is None:
        return *facts, None, None, None
    encoding = state.encoding
    pattern = patterns[encoding.present, encoding.missing]
    return *facts, pattern, float(encoding.confidence), encoding.history_embedding is not None


def _state(row: Sequence[Any], vectors: _Vectors, version: str) -> Online:
    item_id, seq, since, digest, description, pattern, confidence, has_history = row
    item = None if description is None else item_without_features(item_id, description)
    encoding = None
    if pattern is not None:
        present, missing = vectors.names[pattern]
        history = next(vectors.histories) if has_history else None
        encoding = Encoding(next(vectors.embeddings), history, float(confidence), present, missing, version)
    return Online(seq, item, encoding, since, bytes.fromhex(digest))


def _read_matrix(file: BinaryIO, n: int, d: int) -> Matrix:
    data = file.read(n * d * _LITTLE_ENDIAN.itemsize)
    return np.frombuffer(data, dtype=_LITTLE_ENDIAN).astype(np.float32, copy=False).reshape(n, d)


def _check(file: BinaryIO) -> None:
    """Reads all of a file, compares its checksum, and goes back to its beginning."""
    size = file.seek(0, os.SEEK_END) - _DIGEST_BYTES
    file.seek(0)
    checksum = hashlib.sha256()
    for start in range(0, size, _CHUNK):
        checksum.update(file.read(min(_CHUNK, size - start)))
    if size <= 0 or file.read() != checksum.digest():
        raise ValueError("expected a file that ends in its own sha256, found another or a part of one")
    file.seek(0)


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while some := list(islice(rest, _SOME)):
        yield some
