"""Featurizers, the models that turn raw texts and images into features: found out what they are, and checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from training.dataset import Dataset
from training.errors import ExportRefused

TOLERANCE = 1e-4  # absolute, and relative where features are large
_TEXTS = ("", "a b")
_INPUTS = "one input, 'text' of strings (b,) or 'image' of uint8 (b, height, width, 3) with fixed height and width"
_FATAL = 4  # what the engine has to say is in its errors


class Featurizer(NamedTuple):
    """A featurizer as a bundle has it.

    Attributes:
        kind: what it reads, ``text`` or ``image``.
        content: the ONNX model.
    """

    kind: str
    content: bytes


def read_featurizers(dataset: Dataset) -> dict[str, Featurizer]:
    """A data set's featurizers by modality, each tried on two texts or images.

    Raises:
        ExportRefused: ONNX Runtime does not run one, or what it takes or gives is not what
            ``docs/bundle-format.md`` asks for.
        OSError: a file cannot be read.
    """
    return {name: _read(path, dataset.features[name].dim) for name, path in dataset.featurizers.items()}


def kinds_of(featurizers: Mapping[str, Featurizer]) -> dict[str, str]:
    """Modality → kind, as manifests have it."""
    return {name: featurizer.kind for name, featurizer in featurizers.items()}


def _read(path: Path, d_m: int) -> Featurizer:
    content = path.read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # the engine's errors share no base class of their own
        raise ExportRefused(f"{path}: expected one model that ONNX Runtime can load, found: {exc}") from exc
    probe = _probe(path, session)
    _check_output(path, session)
    together = _run(path, session, probe)
    _check_features(path, together, d_m)
    alone = [_run(path, session, {name: x[row : row + 1] for name, x in probe.items()}) for row in range(2)]
    if not np.allclose(np.concatenate(alone), together, rtol=TOLERANCE, atol=TOLERANCE):
        difference = float(np.abs(np.concatenate(alone) - together).max())
        raise ExportRefused(
            f"{path}: expected the same features alone and in a batch of 2 within {TOLERANCE}, found {difference} apart"
        )
    return Featurizer(next(iter(probe)), content)


def _probe(path: Path, session: Any) -> dict[str, NDArray[Any]]:
    """Two texts or two images, by the name of the model's input, which is also its kind."""
    inputs = [(put.name, put.type, put.shape) for put in session.get_inputs()]
    match inputs:
        case [("text", "tensor(string)", [b])] if not isinstance(b, int):
            return {"text": np.array(_TEXTS, dtype=object)}
        case [("image", "tensor(uint8)", [b, int(height), int(width), 3])] if not isinstance(b, int):
            noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
            return {"image": np.stack([np.zeros_like(noise), noise])}
    found = ", ".join(f"{name!r} {kind} {shape}" for name, kind, shape in inputs) or "none"
    raise ExportRefused(f"{path}: expected {_INPUTS}, found {found}")


def _check_output(path: Path, session: Any) -> None:
    outputs = [(put.name, put.type) for put in session.get_outputs()]
    if outputs != [("features", "tensor(float)")]:
        found = ", ".join(f"{name!r} {kind}" for name, kind in outputs)
        raise ExportRefused(f"{path}: expected one output, 'features' of float32 (b, d_m), found {found}")


def _run(path: Path, session: Any, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    try:
        features: NDArray[np.float32] = session.run(["features"], dict(inputs))[0]
    except Exception as exc:  # as above
        b = len(next(iter(inputs.values())))
        raise ExportRefused(f"{path}: expected features of a batch of {b}, found: {exc}") from exc
    return features


def _check_features(path: Path, features: NDArray[np.float32], d_m: int) -> None:
    if features.shape != (2, d_m):
        raise ExportRefused(f"{path}: expected (2, {d_m}) features of a batch of 2, found {features.shape}")
    if not np.isfinite(features).all():
        raise ExportRefused(f"{path}: expected finite features, found {features[~np.isfinite(features)][0]}")
