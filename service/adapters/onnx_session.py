"""ONNX Runtime: the only place that opens its sessions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.errors import ModelUnavailable

logger = logging.getLogger(__name__)

Session = Any  # the engine ships no types
Told = Callable[[str], object]

# Full single precision: an item must be encoded alike on a device and without one.
_CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})
_CPU = "CPUExecutionProvider"
_SIZES = (1, 8, 32, 128, 256)  # of a batch on the device, which prepares itself anew for each size it meets


def open_session(path: Path, threads: int) -> Session:
    """A session on the CPU with its own threads.

    Raises:
        ModelUnavailable: the engine cannot load the file.
    """
    return _open(path, threads, [_CPU])


class CudaSession:
    """A session on an NVIDIA device, or on the CPU where there is none, or it is lost.

    Batches are filled up to one of a few sizes. That a provider is available says only that it was compiled in: what a
    session really has is asked of the session.

    Args:
        path: the ONNX file.
        threads: of the CPU, inside one call.
        told: is given ``cuda`` or ``cpu``, whenever that changes.
        open_on_device: opens the session that may turn out not to be on the device.

    Raises:
        ModelUnavailable: the engine cannot load the file.
    """

    def __init__(
        self, path: Path, threads: int, told: Told, open_on_device: Callable[[Path, int], Session] | None = None
    ) -> None:
        self._path = path
        self._threads = threads
        self._told = told
        self._session = (open_on_device or _open_on_device)(path, threads)
        self._on_device = _CUDA[0] in self._session.get_providers()
        if not self._on_device:
            compiled_in = _CUDA[0] in onnxruntime.get_available_providers()
            reason = "there is no device" if compiled_in else "expected ONNX Runtime with CUDA: pip install '.[gpu]'"
            logger.warning("onnx_device_refused", extra={"reason": reason})
        told("cuda" if self._on_device else "cpu")

    def get_inputs(self) -> Any:
        """The nodes that go in."""
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        """The nodes that come out."""
        return self._session.get_outputs()

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> Any:
        """The outputs; where the device fails and the CPU does not, the CPU goes on from here.

        Raises:
            Exception: the engine's own, where the inputs are at fault.
        """
        if not self._on_device:
            return self._session.run(outputs, inputs)
        try:
            n = len(next(iter(inputs.values())))
            return [each[:n] for each in self._session.run(outputs, _filled_up(inputs, n))]
        except Exception:  # the engine's errors share no base class, and do not say whose fault it was
            on_cpu = open_session(self._path, self._threads)
            results = on_cpu.run(outputs, inputs)
            logger.exception("onnx_device_lost")
            self._session, self._on_device = on_cpu, False
            self._told("cpu")
            return results


def _filled_up(inputs: Mapping[str, NDArray[Any]], n: int) -> dict[str, NDArray[Any]]:
    """A batch of n rows, with rows of zeros up to the next of the sizes."""
    size = next((size for size in _SIZES if size >= n), n)
    return {
        name: np.concatenate([rows, np.zeros((size - n, *rows.shape[1:]), dtype=rows.dtype)])
        for name, rows in inputs.items()
    }


def _open_on_device(path: Path, threads: int) -> Session:
    if _CUDA[0] not in onnxruntime.get_available_providers():  # made for processors: pip install '.[gpu]'
        return open_session(path, threads)
    if hasattr(onnxruntime, "preload_dlls"):  # CUDA's libraries are packages, in no place the loader looks at
        onnxruntime.preload_dlls()
    return _open(path, threads, [_CUDA, _CPU])


def _open(path: Path, threads: int, providers: Sequence[Any]) -> Session:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as exc:  # the engine's errors share no base class of their own
        raise ModelUnavailable(f"{path}: ONNX Runtime cannot load it: {exc}") from exc


def open_made(model: bytes, initializers: Mapping[str, NDArray[Any]], threads: int) -> Session:
    """A session for a model of our own making, that keeps nothing but its initializers between runs.

    Args:
        model: what would stand in a file.
        initializers: what the model says lies elsewhere; in C order.
        threads: inside one run.

    Raises:
        ModelUnavailable: the engine cannot load the model.
    """
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it would hold on to the largest results there ever were
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in initializers.values()]
    options.add_external_initializers(list(initializers), values)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # the engine's errors share no base class of their own
        raise ModelUnavailable(f"a model of our own: ONNX Runtime cannot load it: {exc}") from exc
