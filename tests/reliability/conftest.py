"""The service as a process of its own: started, killed without warning, starved of room, started again."""

import os
import re
import resource
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_store import ModelStore

PATIENCE_S = 60.0
_SERVICE = ("-m", "service")


class ServiceProcess:
    """A service on a journal that outlives it; it listens on another port after each start.

    Args:
        settings: of the service, without their prefix.
        log: file for what it prints.
        command: arguments of the Python interpreter; ``python -m service`` by default.
    """

    def __init__(self, settings: dict[str, object], log: Path, command: tuple[str, ...] = _SERVICE) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("I3REC_")}
        named = {f"I3REC_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = kept | {"I3REC_PORT": "0"} | named
        self._log = log
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._clients: list[httpx.Client] = []
        self.url = ""

    def start(self, *, ready: bool = True) -> None:
        """Starts the process and waits until a model serves, or, where none can, until it answers."""
        self._close_clients()
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url = self._process.stdout.readline().rpartition(" ")[2].strip()
        assert self.url, f"the service ended:\n{self._log.read_text()[-2000:]}"
        self._own = self.client()
        self.wait_until(lambda: _answers(self._own, "/readyz" if ready else "/livez"))

    def client(self) -> httpx.Client:
        """A client of the running process, closed when another one starts."""
        no_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the certificates, which take long to load
        client = httpx.Client(base_url=self.url, timeout=PATIENCE_S, verify=no_tls)
        self._clients.append(client)
        return client

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as any process supervisor would."""
        self._end(signal.SIGTERM)

    def allow_files_of(self, size: int) -> None:
        """Lets the running process write no file beyond ``size`` bytes; -1 = as long as it likes."""
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, hard))

    def metric(self, sample: str) -> float:
        """The value of a sample of /metrics, ``name`` or ``name{label="value"}``; 0 where there is none."""
        text = self._own.get("/metrics").text
        found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Asks again and again until something holds; fails where it does not in good time."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"in vain:\n{self._log.read_text()[-2000:]}"
            time.sleep(0.01)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()
        self._process = None

    def close(self) -> None:
        """Leaves nothing behind."""
        self._close_clients()
        self.kill()

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).is_success
    except httpx.TransportError:
        return False


StartService = Callable[..., ServiceProcess]


@pytest.fixture
def start_service(tmp_path: Path, published_store: ModelStore) -> Iterator[StartService]:
    """Starts a service on the published store: ``start_service(journal_timeout_s=1, command=…, ready=False)``."""
    started: list[ServiceProcess] = []

    def start(*, command: tuple[str, ...] = _SERVICE, ready: bool = True, **settings: Any) -> ServiceProcess:
        defaults = {
            "model_store": published_store.root,
            "journal_url": f"sqlite:///{tmp_path}/journal.sqlite3",
            "model_poll_s": 0.05,
            "log_level": "WARNING",
        }
        service = ServiceProcess(defaults | settings, tmp_path / "service.log", command)
        started.append(service)
        service.start(ready=ready)
        return service

    yield start
    for service in started:
        service.close()
