"""The featurizers of a bundle, run by ONNX Runtime; see ``docs/bundle-format.md`` for their inputs and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.adapters.images import UnreadableImage, read_image
from service.adapters.onnx_session import Session, open_session
from service.domain import Raw, Text, Vector
from service.errors import EncodingFailed, InvalidItem, ModelUnavailable, json_pointer

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class _Model:
    """One featurizer: of texts, or of images of one size (height, width)."""

    session: Session
    size: tuple[int, int] | None

    @property
    def kind(self) -> str:
        return "image" if self.size else "text"


class OnnxFeaturizer:
    """Makes features with the ONNX models that a bundle names.

    Args:
        paths: modality → ONNX file.
        modalities: modality → d_m.
        threads: threads inside one call.

    Raises:
        ModelUnavailable: a file is no featurizer.
    """

    def __init__(self, paths: Mapping[str, Path], modalities: Mapping[str, int], *, threads: int) -> None:
        self._modalities = dict(modalities)
        self._models = {name: _open(path, threads) for name, path in paths.items()}

    def features(self, modality: str, raw: Raw) -> Vector:
        """The features (d_m,) float32 of a text or an image."""
        model = self._models[modality]
        kind = "text" if isinstance(raw, Text) else "image"
        if model.kind != kind:
            reason = f"expected {model.kind}, or {self._modalities[modality]} numbers, found {kind}"
            raise InvalidItem(json_pointer("modalities", modality), reason)
        return self._run(modality, model, _inputs(modality, model, raw))

    def _run(self, modality: str, model: _Model, inputs: Mapping[str, Any]) -> Vector:
        try:
            features = np.asarray(model.session.run(["features"], inputs)[0])
        except Exception as exc:  # the engine's errors share no base class of their own
            raise EncodingFailed(f"the featurizer of {modality} failed: {exc}") from exc
        shape = (1, self._modalities[modality])
        if features.shape != shape or not np.isfinite(features).all():
            raise EncodingFailed(f"the featurizer of {modality}: expected finite values {shape}, found otherwise")
        vector: Vector = features[0].astype(np.float32)
        return vector


def _open(path: Path, threads: int) -> _Model:
    session = open_session(path, threads)
    inputs, outputs = session.get_inputs(), [node.name for node in session.get_outputs()]
    names = [node.name for node in inputs]
    if "features" not in outputs or names not in (["text"], ["image"]):
        raise ModelUnavailable(
            f"{path}: expected one input, text or image, and the output features, found {names} and {outputs}"
        )
    if names == ["text"]:
        return _Model(session, None)
    _, height, width, channels = shape = (*inputs[0].shape, None, None, None, None)[:4]
    if not isinstance(height, int) or not isinstance(width, int) or channels != _CHANNELS:
        raise ModelUnavailable(f"{path}: expected images (b, height, width, 3) of fixed size, found {shape}")
    return _Model(session, (height, width))


def _inputs(modality: str, model: _Model, raw: Raw) -> dict[str, Any]:
    if isinstance(raw, Text) or model.size is None:
        text = raw.text if isinstance(raw, Text) else ""
        return {"text": np.array([text], dtype=object)}
    try:
        return {"image": read_image(raw.data, *model.size)[None]}
    except UnreadableImage as exc:
        raise InvalidItem(json_pointer("modalities", modality, "image_b64"), str(exc)) from exc
