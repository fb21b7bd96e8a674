"""Fuzzes a running service by its own OpenAPI document: ``make fuzz``, about ten minutes.

A small model is trained on synthetic data, the service started on it, and schemathesis run with all its checks: no 5xx,
no undeclared status, header or content type. What is accepted, and why, stands in ``tools/schemathesis.toml``.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from demo_server import ROOT, Server, free_port, python

_EXAMPLES = "450"  # an operation; with the cases that cover the schema they are more than 5,000


def main() -> int:
    """Runs it; returns the exit status of schemathesis."""
    with tempfile.TemporaryDirectory(prefix="i3rec-fuzz-") as directory:
        root = Path(directory)
        store = _train(root)
        with Server(store, root / "journal.sqlite3", free_port(), root / "service.log") as server:
            return _fuzz(f"{server.url}/openapi.json")


def _train(directory: Path) -> Path:
    """A store with a small model, promoted."""
    data, store = directory / "data", directory / "store"
    python("-m", "benchmarks.catalogue", "--interactions", "3000", "--out", str(data))
    small = ("--epochs", "1", "--evaluate-every", "1", "--d", "16", "--hidden", "16", "--unobserved", "70")
    python("-m", "training", "train", "--data", str(data), "--store", str(store), "--promote", *small)
    return store


def _fuzz(url: str) -> int:
    config = str(ROOT / "tools" / "schemathesis.toml")
    program = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", config]
    options = ["-n", _EXAMPLES, "--phases", "coverage,fuzzing", "--continue-on-failure"]
    return subprocess.run([*program, "run", url, *options], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
