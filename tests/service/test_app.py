"""The composition root: what importing it does, and does not."""

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

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


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files that are open are looked up there")
@pytest.mark.anyio
async def test_an_app_that_has_ended_holds_no_files(run_app: Any, settings: Settings) -> None:
    """Whoever keeps it: what served is let go of with its files all the same."""
    async with run_app(settings) as running:
        app = running.app
        assert (await running.client.get("/recommend/u1")).is_success
        assert any(map(is_of(settings), open_files()))
    del running

    gc.collect()

    assert not any(map(is_of(settings), open_files()))
    assert app.state.routes  # it is still there


def open_files() -> list[str]:
    """Paths of this process' open files."""
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


def is_of(settings: Settings) -> Callable[[str], bool]:
    """Whether a file is one of the store's."""
    return lambda path: path.startswith(str(settings.model_store))


@pytest.mark.anyio
async def test_apps_that_have_ended_are_let_go(run_app: Any, settings: Settings) -> None:
    """Nothing that outlives them keeps them: processes that start many would run out of memory."""
    ended = []
    for _ in range(2):
        async with run_app(settings) as running:
            (await running.client.get("/docs")).raise_for_status()
            ended.append(ref(running.app))
        del running

    gc.collect()
    assert [app() for app in ended] == [None, None]
