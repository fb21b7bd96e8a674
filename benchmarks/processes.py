"""What benchmarks that measure processes of their own have in common."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def with_threads(threads: int) -> dict[str, str]:
    """The environment for a process whose numeric libraries use so many threads."""
    return {"OMP_WAIT_POLICY": "passive", **os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


def wait_ready(url: str, path: str = "/readyz") -> None:
    """Waits until a path is answered well, half a minute at most; as it is given, until a service has a model."""
    for _ in range(300):
        try:
            if httpx.get(f"{url}{path}").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)


@contextmanager
def meanwhile(work: Callable[[threading.Event], object] | None) -> Iterator[None]:
    """Does work on a thread until the block ends, which the event tells; None = there is none."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,)) if work else None
    if thread:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread:
            thread.join()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def computing_s(pid: int) -> float:
    """Processor time of a process up to now, seconds; Linux only, elsewhere not a number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Memory of a process now, MiB; Linux only, elsewhere not a number."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
