"""What benchmarks that measure processes of their own have in common."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def for_shop(directory: Path, users: int, *, journal: str = "journal", warm: bool = False) -> dict[str, str]:
    """The environment for a service of the synthetic shop that is published in ``store``, without a port."""
    return {
        **os.environ,
        "I3REC_MODEL_STORE": str(directory / "store"),
        "I3REC_JOURNAL_URL": f"sqlite:///{directory}/{journal}.sqlite3",
        "I3REC_LOG_LEVEL": "WARNING",
        "I3REC_WARM_LISTS": str(warm).lower(),
        "I3REC_REMEMBERED_LISTS": str(users),
    }


@contextmanager
def server(
    module: Sequence[str], environment: Mapping[str, str], url: str, path: str = "/readyz"
) -> Iterator[subprocess.Popen[bytes]]:
    """A module of Python's, run as a server until the block ends; gives its process once the path is answered well."""
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603 - our own servers
    try:
        wait_ready(url, path)
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def meanwhile(work: Callable[[threading.Event], object] | None) -> Iterator[None]:
    """Does work on a thread until the block ends, which the event tells; None = none. Raises what it raises."""
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, over) if work else None
        try:
            yield
        finally:
            over.set()
    if done:
        done.result()


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
