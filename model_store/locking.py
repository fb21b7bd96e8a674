"""The lock that changes of a store are serialised by, over processes."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_store.errors import StoreBusy

_PAUSE_S = 0.02


@contextmanager
def locked(root: Path, wait_s: float) -> Iterator[None]:
    """Holds the lock of the store in ``root``, which is made where it is not there; nobody else changes it meanwhile.

    Raises:
        StoreBusy: others held the lock for ``wait_s`` seconds.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        give_up = time.monotonic() + wait_s
        while not _taken(file.fileno()):
            if time.monotonic() >= give_up:
                raise StoreBusy(root, wait_s)
            time.sleep(_PAUSE_S)
        yield


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
