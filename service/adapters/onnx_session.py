"""ONNX Runtime: the only place that opens its sessions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from service.errors import ModelUnavailable

Session = Any  # the engine ships no types


def open_session(path: Path, threads: int) -> Session:
    """A session on the CPU with its own threads.

    Raises:
        ModelUnavailable: the engine cannot load the file.
    """
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
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
