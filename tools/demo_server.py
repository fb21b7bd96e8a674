"""A service process for the tools: started, waited for, killed without warning, started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from i3rec_client import Client, I3RecError

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_S = 60.0


class Server:
    """``python -m service`` on a model store and a journal, for the length of a ``with`` block.

    Args:
        store: directory of the model store.
        journal: a file, or the URL of a journal.
        port: to listen on.
        log: file for what it prints.
    """

    def __init__(self, store: Path, journal: Path | str, port: int, log: Path) -> None:
        self.url = f"http://{HOST}:{port}"
        self._log = log
        self._environment = {
            **os.environ,
            "I3REC_MODEL_STORE": str(store),
            "I3REC_JOURNAL_URL": f"sqlite:///{journal}" if isinstance(journal, Path) else journal,
            "I3REC_HOST": HOST,
            "I3REC_PORT": str(port),
        }
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the service and waits until it is ready.

        Raises:
            SystemExit: the port is taken, or the service ended; with the reason.
        """
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self._port))
            except OSError as exc:
                raise SystemExit(
                    f"port {self._port} is taken ({exc.strerror}); choose another: I3REC_PORT=8001 make demo"
                ) from exc
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service"], env=self._environment, stdout=log, stderr=log
            )
        self._await_readiness(self._process)

    def _await_readiness(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        with Client(self.url) as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise SystemExit(f"the service ended with status {process.returncode}; its log: {self._log}")
                with suppress(I3RecError):
                    client.ready()
                    return
                time.sleep(0.05)
        raise SystemExit(f"the service was not ready after {_PATIENCE_S:.0f} s; its log: {self._log}")

    def kill(self) -> None:
        """SIGKILL: nothing can be tidied up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as any process supervisor would."""
        self._end(signal.SIGTERM)

    def wait(self) -> None:
        """Waits until the service ends by itself."""
        if self._process:
            self._process.wait()

    def _end(self, how: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait()


def python(*arguments: str) -> None:
    """Runs ``python`` with these arguments in the repository; its output is not shown.

    Raises:
        CalledProcessError: it fails.
    """
    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
