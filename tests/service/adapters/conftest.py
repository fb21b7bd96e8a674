"""Journals of every kind, and a device that is none."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from service.adapters.memory import MemoryJournal
from service.adapters.sql_journal import SqlJournal
from service.domain import Matrix
from service.ports import Journal


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database whose directory does not exist yet."""
    return f"sqlite:///{tmp_path}/deep/down/journal.sqlite3"


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def journal(request: pytest.FixtureRequest, url: str) -> Iterator[Journal]:
    """Each implementation in turn."""
    made: Journal
    if request.param == "memory":
        made = MemoryJournal()
    else:
        made = SqlJournal(url if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield made
    made.close()


@pytest.fixture
def sql(url: str) -> Iterator[SqlJournal]:
    """A SQL journal."""
    made = SqlJournal(url, timeout_s=0.05)
    yield made
    made.close()


class FakeDevice:
    """A device whose indexes lie in memory; it can be deaf to selectors, imprecise, and lost."""

    def __init__(self, *, deaf: bool = False, off: float = 0.0) -> None:
        self.lock = threading.Lock()
        self.deaf = deaf
        self.off = off
        self.lost = False

    def flat(self, d: int, *, half: bool) -> Any:
        """All rows."""
        fp16, ip = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        return _OnDevice(self, faiss.IndexScalarQuantizer(d, fp16, ip) if half else faiss.IndexFlatIP(d))

    def graph(self, matrix: Matrix) -> Any:
        """HNSW in CAGRA's place."""
        index = faiss.IndexHNSWFlat(matrix.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        index.add(matrix)
        return _OnDevice(self, index)

    def walk(self, effort: int, chosen: Any) -> Any:
        """HNSW's parameters; CAGRA takes multiples of 32."""
        assert effort % 32 == 0
        return faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)


class _OnDevice:
    """An index that is used by one at a time."""

    def __init__(self, device: FakeDevice, index: Any) -> None:
        self._device = device
        self._index = index

    def add(self, rows: Matrix) -> None:
        """Adds rows."""
        assert self._device.lock.locked()
        self._index.add(rows)

    def search(self, queries: Matrix, k: int, params: Any) -> tuple[Any, Any]:
        """Scores and rows."""
        assert self._device.lock.locked()
        if self._device.lost:
            raise RuntimeError("the device is gone")
        scores, rows = self._index.search(queries, k, params=None if self._device.deaf else params)
        return (scores * (1 + self._device.off)).astype(np.float32), rows


@pytest.fixture
def make_device() -> Callable[..., FakeDevice]:
    """Makes devices that are none."""
    return FakeDevice
