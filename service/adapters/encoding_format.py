"""Encodings as bytes, for where others may write as well: what is read is checked."""

import struct
import zlib

import numpy as np
import orjson

from service.domain import Encoding

_CRC = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
_LITTLE_ENDIAN = np.dtype("<f4")


def pack(encoding: Encoding) -> bytes:
    """An encoding as bytes: CRC32 of the rest, length of the header, header (JSON), then float32 vectors."""
    vectors = [encoding.embedding]
    if encoding.history_embedding is not None:
        vectors.append(encoding.history_embedding)
    header = orjson.dumps(
        {
            "confidence": encoding.confidence,
            "present": encoding.present,
            "missing": encoding.missing,
            "vectors": len(vectors),
        }
    )
    body = _LENGTH.pack(len(header)) + header + b"".join(v.astype(_LITTLE_ENDIAN).tobytes() for v in vectors)
    return _CRC.pack(zlib.crc32(body)) + body


def unpack(value: bytes, model_version: str) -> Encoding | None:
    """The encoding that was packed; None where the bytes are anything else, or say what no encoding says."""
    try:
        (crc,), body = _CRC.unpack_from(value), value[_CRC.size :]
        if zlib.crc32(body) != crc:
            return None
        (length,) = _LENGTH.unpack_from(body)
        start = _LENGTH.size + length
        header = orjson.loads(body[_LENGTH.size : start])
        floats = np.frombuffer(body, dtype=_LITTLE_ENDIAN, offset=start).astype(np.float32)
        vectors = floats.reshape(_count(header["vectors"]), -1)
        if not np.isfinite(vectors).all():
            return None
        return Encoding(
            embedding=vectors[0],
            history_embedding=vectors[1] if len(vectors) > 1 else None,
            confidence=_confidence(header["confidence"]),
            present=_names(header["present"]),
            missing=_names(header["missing"]),
            model_version=model_version,
        )
    except (struct.error, ValueError, KeyError, TypeError, IndexError):
        return None


def _count(value: object) -> int:
    if type(value) is not int or value not in {1, 2}:
        raise ValueError(f"expected 1 or 2 vectors, found {value!r}")
    return value


def _confidence(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"expected a number in [0, 1], found {value!r}")
    return float(value)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"expected a list of texts, found {value!r}")
    return tuple(value)
