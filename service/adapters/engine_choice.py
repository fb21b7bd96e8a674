"""Which engine searches a main segment, by the settings, its size, and what the machine has."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

from service.adapters.approximate_engines import Graph, Lists
from service.adapters.background import Workers
from service.adapters.candidates import Proposer
from service.adapters.device_trial import try_flat, try_graph
from service.adapters.gpu_engines import CudaDevice, Device, DeviceFlat, DeviceGraph, DeviceUnusable
from service.adapters.live_recall import LiveRecall
from service.adapters.proven_engine import PROBES, Proof, ProvenEngine
from service.adapters.segments import Engine
from service.domain import Matrix

logger = logging.getLogger(__name__)

LEAST_ROWS = {"ivf": 200_000, "hnsw": 200_000, "gpu-cagra": 200_000}
"""Of fewer rows the exact engine is as quick in batches (``python -m benchmarks.engines``); the device's is a guess."""

MakeEngine = Callable[[Matrix], Engine]


class Observer(Protocol):
    """Is told what searches."""

    def uses(self, asked: str, used: str, recall: float) -> None:
        """Notes the engine that was asked for, the one that is used, and the recall that it has shown."""
        ...

    def compared(self, recall: float) -> None:
        """Notes the recall of one search."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Attributes:
        kind: ``exact``, ``ivf``, ``hnsw``, ``gpu-fp16``, ``gpu-fp32`` or ``gpu-cagra``.
        recall: wanted of approximate engines.
        check_every: of so many of their searches one is compared with an exact one; 0 = none.
        threads: threads inside one search.
        least_rows: of the approximate kinds; None = as measured.
        probes: queries to measure recall with.
    """

    kind: str
    recall: float = 0.99
    check_every: int = 0
    threads: int = 1
    least_rows: int | None = None
    probes: int = PROBES

    def covers(self, rows: int) -> bool:
        """Whether a segment of so many rows is to have another engine than the exact one."""
        least = LEAST_ROWS.get(self.kind, 1) if self.least_rows is None else self.least_rows
        return self.kind != "exact" and rows >= max(1, least)


class EngineChoice:
    """Makes engines of the kind that was asked for, or says why it does not, and makes the exact one.

    Args:
        asked: the kind, and what it must reach.
        exact: makes the engine for processors.
        observer: is told.
        workers: run what is made and compared in the background; once they are closed, engines search on as they are.
        open_device: the device, for the kinds that need one; it is opened once.
    """

    def __init__(
        self,
        asked: Asked,
        exact: MakeEngine,
        observer: Observer,
        workers: Workers,
        open_device: Callable[[], Device] = CudaDevice,
    ) -> None:
        self._asked = asked
        self._exact = exact
        self._observer = observer
        self._open_device = lru_cache(maxsize=1)(open_device)
        self._workers = workers
        self.live = LiveRecall(asked.check_every, observer.compared, workers)

    def __call__(self, matrix: Matrix) -> Engine:
        """An engine for a main segment (n, d) float32."""
        exact = self._exact(matrix)
        kind = self._asked.kind
        self._observer.uses(kind, "exact", 1.0)
        if not self._asked.covers(len(matrix)):
            return exact
        try:
            return self._on_device(matrix, exact) if kind.startswith("gpu-") else self._proven(matrix, exact)
        except DeviceUnusable as exc:
            logger.warning("index_device_refused", extra={"asked": kind, "reason": str(exc)})
        except Exception:  # whatever the device's library throws: the rows can be searched without it
            logger.exception("index_device_refused", extra={"asked": kind})
        return exact

    def _on_device(self, matrix: Matrix, exact: Engine) -> Engine:
        device = self._open_device()
        if self._asked.kind == "gpu-cagra":
            try_graph(device, matrix.shape[1])
            return self._proven(matrix, exact, partial(DeviceGraph, device=device))
        half = self._asked.kind == "gpu-fp16"
        try_flat(device, matrix.shape[1], half=half)
        engine = DeviceFlat(matrix, device, exact, half=half)
        self._observer.uses(self._asked.kind, self._asked.kind, 1.0)
        return engine

    def _proven(self, matrix: Matrix, exact: Engine, make: Callable[[Matrix], Proposer] | None = None) -> Engine:
        on_processor = Lists if self._asked.kind == "ivf" else Graph
        return ProvenEngine(
            matrix,
            exact,
            make or partial(on_processor, threads=self._asked.threads, check=self._workers.check),
            wanted=self._asked.recall,
            serve=partial(self._serve, matrix),
            workers=self._workers,
            probes=self._asked.probes,
        )

    def _serve(self, matrix: Matrix, engine: Engine, proof: Proof) -> Engine:
        self._observer.uses(self._asked.kind, self._asked.kind, proof.recall)
        return self.live.watched(engine, matrix)
