"""ONNX Runtime: the only place that opens its sessions."""

from pathlib import Path
from typing import Any

import onnxruntime

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
