"""What the service measures, and the programs that check what is deployed beside it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from service.metrics import Metrics

ROOT = Path(__file__).parents[2]
Check = Callable[..., None]


@pytest.fixture(scope="session")
def measured() -> set[str]:
    """The families of the service's own metrics."""
    return {family.name for family in Metrics().registry.collect() if family.name.startswith("i3rec_")}


@pytest.fixture
def check() -> Check:
    """Runs a program that checks files and must find nothing; skips the test where it is not installed."""

    def run(program: str, *arguments: str | Path) -> None:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: prometheus, prometheus-alertmanager)")
        command = [program, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    return run
