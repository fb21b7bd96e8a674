# What native/module.c gives; kernels.py says what it means.

from typing import Any, TypeAlias

from numpy.typing import NDArray

_Buffer: TypeAlias = NDArray[Any] | bytes

def holds(
    slots: list[int],
    least: float,
    since: int,
    changed_at: _Buffer,
    written: _Buffer,
    first: int,
    query: _Buffer,
    longest: float,
    /,
) -> bool: ...
def kinds() -> list[str]: ...
def listed(
    text: bytearray,
    starts: _Buffer,
    rows: list[int],
    others: list[bytes | None] | None,
    scores: bytes,
    kind: bytes,
    /,
) -> tuple[bytes, str] | None: ...
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
def whole(
    kind: str,
    threads: int,
    rows: _Buffer,
    matrix: _Buffer,
    scales: _Buffer,
    longest: float,
    most_off: float,
    rounding: float,
    shown: _Buffer | None,
    slots: _Buffer | None,
    row_of: _Buffer | None,
    later: _Buffer,
    later_slots: _Buffer,
    later_dead: _Buffer,
    later_longest: float,
    k: int,
    most: int,
    sought: list[tuple[NDArray[Any], NDArray[Any]]],
    /,
) -> tuple[bytes, bytes, bytes, list[int]]: ...
def rounded(
    queries: _Buffer, scales: _Buffer, longest: float, most_off: float, rounding: float, /
) -> tuple[bytes, bytes]: ...
def round_rows(rows: _Buffer, scales: _Buffer, into: _Buffer, start: int, /) -> tuple[float, float]: ...
def order(numbers: _Buffer, scores: _Buffer, k: int, /) -> bytes: ...
def made_up(
    kind: str,
    slots: _Buffer,
    scores: _Buffer,
    whole: bool,
    changed_at: _Buffer,
    since: int,
    now: int,
    written: _Buffer,
    written_slots: _Buffer,
    counts: _Buffer,
    query: _Buffer,
    longest: float,
    barred: _Buffer | None,
    most: int,
    /,
) -> tuple[bytes, bytes, list[int]] | None: ...
def score(kind: str, d: int, matrix: _Buffer, queries: _Buffer, rows: _Buffer, numbers: _Buffer, /) -> bytes: ...
