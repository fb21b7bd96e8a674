"""Vectors as they go over the wire: plain numbers, or float32 packed into base64."""

import base64
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

from i3rec_client.documents import Malformed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    Vector = Sequence[float] | ReadableBuffer
else:
    Vector = Any

_NUMBERS = "efdbBhHiIlLqQ"  # formats of the struct module that stand for numbers


def vector_content(vector: Vector) -> list[float] | dict[str, str]:
    """A vector for a JSON body: a sequence as its numbers; an array (NumPy's, ``array.array``) packed, as float32.

    Values are not judged here: NaN, infinity and wrong lengths are refused by the service, which says where they are.

    Raises:
        TypeError: it is no vector of numbers.
        ValueError: it has more than one dimension.
    """
    if isinstance(vector, (str, bytes, bytearray)):
        raise TypeError(f"expected a vector of numbers, found {type(vector).__name__}")
    try:
        view = memoryview(vector)  # type: ignore[arg-type]  # whether it is one is what is being asked
    except (TypeError, BufferError):
        return _numbers(vector)
    return {"embedding_b64": base64.b64encode(_little_endian(view)).decode("ascii")}


def unpacked(content: str) -> "array[float]":
    """The float32 numbers of a packed vector.

    Raises:
        Malformed: it is none.
    """
    try:
        numbers = array("f", base64.b64decode(content, validate=True))
    except ValueError as exc:
        raise Malformed(f"expected base64 of float32 numbers: {exc}") from exc
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _numbers(vector: Any) -> list[float]:
    numbers = list(vector)
    for place, number in enumerate(numbers):
        if not isinstance(number, SupportsFloat):
            raise TypeError(f"expected numbers, found {type(number).__name__} at place {place}")
    return [float(number) for number in numbers]


def _little_endian(view: memoryview) -> bytes:
    if view.ndim != 1:
        raise ValueError(f"expected a vector, found {view.ndim} dimensions")
    order, code = view.format[:-1], view.format[-1:]
    if code not in _NUMBERS or order not in {"", "@", "=", "<", ">", "!"}:
        raise TypeError(f"expected numbers, found an array of format {view.format!r}")
    # Not by struct.pack, which fails on numbers that float32 cannot hold; here they become infinite, and are refused.
    packed = array("f", struct.unpack(f"{order}{len(view)}{code}", view.tobytes()))
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
