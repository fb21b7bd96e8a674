"""The one ONNX graph that the service makes itself: queries times a matrix of whole numbers.

Written as Protocol Buffers by hand, some fields of five messages: the ``onnx`` package, which would do it, is for those
who train. Numbers of fields and types are those of ``onnx.proto``; the tests read the result with that package.
"""

from collections.abc import Iterable

_UINT8, _INT8, _INT32 = 2, 3, 6  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation
_OPSET, _IR = 10, 5  # with which MatMulInteger came
_TEXT, _NUMBER = 2, 0  # wire types: with a length, and varint
_SEVEN_BITS, _MORE = 0x7F, 0x80

QUERIES, ROWS, PRODUCTS = "queries", "rows", "products"


def integer_product(n: int, d: int, zero_point: int) -> bytes:
    """A model that multiplies ``queries`` (b, d) uint8, less the zero point, with rows: ``products`` (b, n) int32.

    ``rows``, (d, n) int8, is an initializer that is not in the model: it is given to the session, which else would keep
    it twice.

    Args:
        n: rows.
        d: numbers in a row.
        zero_point: what stands for 0 in a query, 0 to 255.
    """
    node = _message([*((1, name) for name in (QUERIES, ROWS, "zero_point")), (2, PRODUCTS), (4, "MatMulInteger")])
    elsewhere = _message([(1, "location"), (2, ROWS)])
    graph = _message(
        [
            (1, node),
            (2, "integer_product"),
            (5, _message([(1, d), (1, n), (2, _INT8), (8, ROWS), (13, elsewhere), (14, _EXTERNAL)])),
            (5, _message([(2, _UINT8), (8, "zero_point"), (9, bytes([zero_point]))])),
            (11, _matrix(QUERIES, _UINT8, d)),
            (12, _matrix(PRODUCTS, _INT32, n)),
        ]
    )
    return _message([(1, _IR), (7, graph), (8, _message([(1, ""), (2, _OPSET)]))])


def _matrix(name: str, kind: int, columns: int) -> bytes:
    """The type of a matrix with any number of rows."""
    shape = _message([(1, _message([(2, "b")])), (1, _message([(1, columns)]))])
    return _message([(1, name), (2, _message([(1, _message([(1, kind), (2, shape)]))]))])


def _message(fields: Iterable[tuple[int, int | str | bytes]]) -> bytes:
    """Fields by number, in the order they are written in."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3 | _NUMBER), _varint(value)]
        else:
            data = value.encode() if isinstance(value, str) else value
            parts += [_varint(number << 3 | _TEXT), _varint(len(data)), data]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    """Seven bits in a byte, the lowest first; the eighth says that more follow."""
    data = bytearray()
    while value > _SEVEN_BITS:
        data.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    data.append(value)
    return bytes(data)
