"""The composition root: what importing it does, and does not."""

import subprocess
import sys

import numpy as np
import pytest

from model_store import IdMap
from service.adapters.segmented_index import SegmentedIndex
from service.app import engines
from service.metrics import Metrics
from service.settings import Settings

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


@pytest.mark.parametrize(("closed", "main"), [(False, 5001), (True, 1)])
def test_closed_engines_fold_nothing(settings: Settings, *, closed: bool, main: int) -> None:
    """What an index does in the background ends with the engines; before, it folds what has become many."""
    made = engines(settings, Metrics())
    index = made.build_index(IdMap(["a"]), np.ones((1, 3), np.float32))
    assert isinstance(index, SegmentedIndex)
    if closed:
        made.close()

    index.upsert([f"n{n}" for n in range(5000)], np.ones((5000, 3), np.float32))
    index.settle()
    made.close()

    assert index.state.main == main
    assert len(index) == 5001
