# What native/module.c gives; kernels.py says what it means.

from typing import Any, TypeAlias

from numpy.typing import NDArray

_Buffer: TypeAlias = NDArray[Any] | bytes

def kinds() -> list[str]: ...
def scan(
    kind: str,
    rows: _Buffer,
    n: int,
    quads: int,
    queries: _Buffer,
    slack: _Buffer,
    k: int,
    most: int,
    shown: _Buffer | None,
    excluded: _Buffer,
    excluded_by: _Buffer,
    threads: int,
    /,
) -> tuple[bytes, bytes]: ...
def reaching(matrix: _Buffer, query: _Buffer, bound: float, /) -> bytes: ...
def rounded(
    queries: _Buffer, scales: _Buffer, longest: float, most_off: float, rounding: float, /
) -> tuple[bytes, bytes]: ...
def order(numbers: _Buffer, scores: _Buffer, k: int, /) -> bytes: ...
def score(kind: str, d: int, matrix: _Buffer, queries: _Buffer, rows: _Buffer, numbers: _Buffer, /) -> bytes: ...
