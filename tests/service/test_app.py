"""The composition root: what importing it does, and does not."""

import subprocess
import sys

SNIPPET = """
import sys, threading
import service.app, service.commands
from prometheus_client import REGISTRY
heavy = sorted({"torch", "onnx", "scipy", "sklearn"} & set(sys.modules))
ours = [name for name in REGISTRY._names_to_collectors if name.startswith("i3rec")]
print(heavy, ours, threading.active_count())
"""


def test_import_loads_no_torch_and_does_no_work() -> None:
    """Importing the app leaves the trainer's libraries out, the global registry alone, and starts no thread."""
    done = subprocess.run([sys.executable, "-c", SNIPPET], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[] [] 1"
