"""Engines whose main segment lies on an NVIDIA device, made of FAISS with cuVS.

Nothing here has been run on a device yet: see ``docs/decisions/0010-approximate-and-gpu-engines.md``.
"""

import threading
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from service.adapters.approximate_engines import selector
from service.adapters.candidates import Left, Shown, certain, find_part, joined
from service.adapters.exact_scan import Batch, Found, Numbers
from service.adapters.segments import Engine
from service.domain import Matrix

_engine: Any = faiss  # its stubs are SWIG's C++ signatures, not those of the Python wrapper

_CHUNK = 1 << 20
_SPARE = 16  # rows beyond those wanted, so that rounding seldom calls for a second look
_MOST_FETCHED = 2048  # the device's limit without cuVS; with it there are more, but sorting them takes longer
_MOST_HALF = 6e4  # float16 ends at 65504
_HALF = 2.0**-11  # relative rounding of float16 ...
_TINY = 2.0**-25  # ... and absolute, of its smallest numbers


class DeviceUnusable(Exception):
    """There is no device, or it does not do what it is needed for; says what was expected and found."""


class Device(Protocol):
    """Where indexes are made; they may be used while ``lock`` is held, by one thread at a time.

    FAISS's indexes on devices are not safe for several threads, not even if all of them only read.
    """

    lock: threading.Lock

    def flat(self, d: int, *, half: bool) -> Any:
        """An empty index of FAISS for inner products of d numbers, in half or single precision."""
        ...

    def graph(self, matrix: Matrix) -> Any:
        """A graph of these rows, by inner product."""
        ...

    def walk(self, effort: int, chosen: Any) -> Any:
        """The parameters of a search in a graph: how many rows it keeps in view, and a selector or None."""
        ...


class CudaDevice:
    """An NVIDIA device.

    Args:
        number: as CUDA counts.

    Raises:
        DeviceUnusable: this FAISS is made for processors, or there is no such device.
    """

    def __init__(self, number: int = 0) -> None:
        if not all(hasattr(_engine, name) for name in ("StandardGpuResources", "GpuIndexFlat", "GpuIndexCagra")):
            raise DeviceUnusable("expected FAISS with cuVS (pip install '.[gpu]', without cpu), found one without")
        found = _engine.get_num_gpus()
        if found <= number:
            raise DeviceUnusable(f"expected CUDA device {number}, found {found} devices")
        self.lock = threading.Lock()
        self._number = number
        self._resources = _engine.StandardGpuResources()

    def flat(self, d: int, *, half: bool) -> Any:
        """An empty index; only cuVS heeds selectors, the classic one silently ignores them."""
        config = _engine.GpuIndexFlatConfig()
        config.device, config.use_cuvs, config.useFloat16 = self._number, True, half
        return _engine.GpuIndexFlat(self._resources, d, _engine.METRIC_INNER_PRODUCT, config)

    def graph(self, matrix: Matrix) -> Any:
        """CAGRA with its own defaults; nothing can be added to it later."""
        config = _engine.GpuIndexCagraConfig()
        config.device = self._number
        index = _engine.GpuIndexCagra(self._resources, matrix.shape[1], _engine.METRIC_INNER_PRODUCT, config)
        index.train(matrix)
        return index

    def walk(self, effort: int, chosen: Any) -> Any:
        """CAGRA's."""
        return _engine.SearchParametersCagra(itopk_size=effort, sel=chosen)


class DeviceFlat:
    """Exact: the device proposes by scores that are rounded, and what that leaves open is looked at on the processor.

    Rounding two vectors to float16 changes their score by ``ε_v‖q‖ + ε_q‖v‖ + ε_v·ε_q`` at most, with
    ``ε_x = 2⁻¹¹‖x‖ + 2⁻²⁵√d``.

    Args:
        matrix: (n, d) float32.
        device: holds its copy.
        half: whether in half precision.
        exact: searches what the device cannot: very long lists, numbers beyond float16.
    """

    def __init__(self, matrix: Matrix, device: Device, exact: Engine, *, half: bool) -> None:
        if half and not np.abs(matrix).max(initial=0.0) < _MOST_HALF:
            raise DeviceUnusable(f"expected numbers below {_MOST_HALF:.0f}, which float16 can hold, found larger ones")
        self._n, self._d = matrix.shape
        self._device = device
        self._exact = exact
        self._half = half
        with device.lock:
            self._index = device.flat(self._d, half=half)
            for start in range(0, self._n, _CHUNK):
                self._index.add(np.ascontiguousarray(matrix[start : start + _CHUNK]))
        self._left = Left(len(matrix))

    def find(self, batch: Batch) -> Found:
        """The rows among which the exact best of every query are."""
        most_excluded = int(np.bincount(batch.excluded_by).max()) if batch.excluded.size else 0
        fetched = batch.k + most_excluded + _SPARE
        shown = self._left.but(batch.hidden)
        if fetched > min(_MOST_FETCHED, self._n - batch.hidden.size) or not self._holds(batch):
            return self._exact.find(batch)
        scores, rows = self.fetch(batch.queries, fetched, shown)
        found, open_still = certain(batch, scores, rows, shown, self.slack(batch))
        return joined([found, find_part(self._exact, batch, open_still)]) if open_still.size else found

    def fetch(self, queries: Matrix, k: int, shown: Shown) -> tuple[NDArray[np.float32], Numbers]:
        """The rounded scores and the rows (b, k) that the device finds."""
        parameters = _engine.SearchParameters(sel=chosen) if (chosen := selector(shown)) else None
        with self._device.lock:
            scores, rows = self._index.search(queries, k, params=parameters)
        return scores, rows

    def slack(self, batch: Batch) -> NDArray[np.float64]:
        """(b,) by how much a score of the device may be off."""
        if not self._half:
            return batch.slack
        tiny = _TINY * float(np.sqrt(self._d))
        of_row, of_query = _HALF * batch.longest + tiny, _HALF * batch.norms + tiny
        return batch.slack * (1 + _HALF) ** 2 + of_row * batch.norms + of_query * batch.longest + of_row * of_query

    def _holds(self, batch: Batch) -> bool:
        return not self._half or bool(batch.norms.max() < _MOST_HALF)


class DeviceGraph:
    """Rows with edges to their neighbours on a device (CAGRA); the effort is how many rows a search keeps in view.

    Args:
        matrix: (n, d) float32.
        device: holds a copy and the edges.
    """

    efforts = (32, 64, 128, 256, 512)  # multiples of 32

    def __init__(self, matrix: Matrix, device: Device) -> None:
        self._matrix = np.ascontiguousarray(matrix)  # the index may read it again
        self._device = device
        with device.lock:
            self._index = device.graph(self._matrix)

    def propose(self, queries: Matrix, k: int, effort: int, shown: Shown) -> Numbers:
        """Rows (b, k), best first; what is no row where the walk met no more."""
        effort = max(effort, -(-k // 32) * 32)
        with self._device.lock:
            parameters = self._device.walk(effort, selector(shown))
            rows: Numbers = self._index.search(np.ascontiguousarray(queries), k, params=parameters)[1]
        return rows
