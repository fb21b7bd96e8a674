"""Fuzzes a running service by its own OpenAPI document: ``make fuzz``, about ten minutes.

A small model is trained on synthetic data, the service started on it, and schemathesis run with all its checks: no 5xx,
no undeclared status, header or content type. What is accepted, and why, stands in ``tools/schemathesis.toml``.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_EXAMPLES = "450"  # an operation; with the cases that cover the schema they are more than 5,000


def main() -> int:
    """Runs it; returns the exit status of schemathesis."""
    with tempfile.TemporaryDirectory(prefix="i3rec-fuzz-") as directory:
        store = _train(Path(directory))
        port = _free_port()
        environment = {
            **os.environ,
            "I3REC_MODEL_STORE": str(store),
            "I3REC_JOURNAL_URL": f"sqlite:///{directory}/journal.sqlite3",
            "I3REC_PORT": str(port),
            "I3REC_LOG_LEVEL": "WARNING",
        }
        service = subprocess.Popen([sys.executable, "-m", "service"], env=environment, cwd=ROOT)
        try:
            return _fuzz(f"http://127.0.0.1:{port}/openapi.json")
        finally:
            service.terminate()
            service.wait(30)


def _train(directory: Path) -> Path:
    """A store with a small model, promoted."""
    data, store = directory / "data", directory / "store"
    _python("-m", "benchmarks.catalogue", "--interactions", "3000", "--out", str(data))
    small = ("--epochs", "1", "--evaluate-every", "1", "--d", "16", "--hidden", "16", "--unobserved", "70")
    _python("-m", "training", "train", "--data", str(data), "--store", str(store), "--promote", *small)
    return store


def _fuzz(url: str) -> int:
    config = str(ROOT / "tools" / "schemathesis.toml")
    program = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", config]
    options = ["-n", _EXAMPLES, "--phases", "coverage,fuzzing", "--continue-on-failure"]
    return subprocess.run([*program, "run", url, "--wait-for-schema", "30", *options], check=False).returncode


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
