"""The encoder of a bundle, run by ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.adapters.onnx_session import CudaSession, Session, Told, open_session
from service.domain import Encoding, Vector
from service.errors import EncodingFailed, ModelUnavailable

_BATCH = 256

_Pattern = tuple[tuple[str, ...], tuple[str, ...]]


class OnnxEncoder:
    """Encodes items with an ``encoder.onnx``; see ``docs/bundle-format.md`` for its inputs and outputs.

    Args:
        path: the ONNX file.
        modalities: name → d_m, in the order of the columns of the input ``present``.
        d: embedding size.
        model_version: written into every encoding.
        threads: threads inside one call.
        provider: what runs it; where there is no device the CPU does.
        told: is given what really runs it, whenever that changes.

    Raises:
        ModelUnavailable: the file is no encoder of this model.
    """

    def __init__(
        self,
        path: Path,
        modalities: Mapping[str, int],
        *,
        d: int,
        model_version: str,
        threads: int,
        provider: Literal["cpu", "cuda"] = "cpu",
        told: Told = lambda _: None,
    ) -> None:
        self._modalities = dict(modalities)
        self._d = d
        self._model_version = model_version
        self._session: Session = CudaSession(path, threads, told) if provider == "cuda" else open_session(path, threads)
        if provider == "cpu":
            told(provider)
        self._outputs = self._check_signature(path)

    def encode(self, items: Sequence[Mapping[str, Vector]]) -> list[Encoding]:
        """Encodes items, each given as modality name → (d_m,) float32; order is kept."""
        encodings: list[Encoding] = []
        for start in range(0, len(items), _BATCH):
            encodings += self._encode_batch(items[start : start + _BATCH])
        return encodings

    def _check_signature(self, path: Path) -> list[str]:
        inputs = {node.name for node in self._session.get_inputs()}
        expected = {"present", *(f"features_{name}" for name in self._modalities)}
        outputs = [node.name for node in self._session.get_outputs()]
        if inputs != expected:
            raise ModelUnavailable(f"{path}: expected inputs {sorted(expected)}, found {sorted(inputs)}")
        if not {"embedding", "confidence"} <= set(outputs):
            raise ModelUnavailable(f"{path}: expected outputs embedding and confidence, found {outputs}")
        return [name for name in ("embedding", "confidence", "history_embedding") if name in outputs]

    def _encode_batch(self, items: Sequence[Mapping[str, Vector]]) -> list[Encoding]:
        outputs = self._run(self._inputs(items))
        none = [None] * len(items)
        histories = _rows_of(outputs["history_embedding"]) if "history_embedding" in outputs else none
        parts = zip(_rows_of(outputs["embedding"]), histories, outputs["confidence"].tolist(), strict=True)
        patterns = self._patterns(items)
        return [Encoding(*part, *pattern, self._model_version) for part, pattern in zip(parts, patterns, strict=True)]

    def _inputs(self, items: Sequence[Mapping[str, Vector]]) -> dict[str, NDArray[Any]]:
        present = np.zeros((len(items), len(self._modalities)), dtype=bool)
        inputs: dict[str, NDArray[Any]] = {"present": present}
        for column, (name, d_m) in enumerate(self._modalities.items()):
            rows = np.zeros((len(items), d_m), dtype=np.float32)
            places = [place for place, item in enumerate(items) if name in item]
            if places:
                rows[places] = np.stack([items[place][name] for place in places])
            present[places, column] = True
            inputs[f"features_{name}"] = rows
        return inputs

    def _patterns(self, items: Sequence[Mapping[str, Vector]]) -> list[_Pattern]:
        """Which modalities each item has, and which it lacks; items that are alike in that share their names."""
        kinds = [tuple(item) for item in items]
        known: dict[tuple[str, ...], _Pattern] = {}
        for kind in {*kinds}:
            present = tuple(sorted(name for name in self._modalities if name in kind))
            known[kind] = present, tuple(sorted(self._modalities.keys() - kind))
        return [known[kind] for kind in kinds]

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        try:
            results = self._session.run(self._outputs, inputs)
        except Exception as exc:  # the engine's errors share no base class of their own
            raise EncodingFailed(f"ONNX Runtime failed: {exc}") from exc
        outputs = dict(zip(self._outputs, results, strict=True))
        n = len(inputs["present"])
        for name, array in outputs.items():
            shape = (n,) if name == "confidence" else (n, self._d)
            if array.shape != shape or not np.isfinite(array).all():
                raise EncodingFailed(f"output {name}: expected finite values {shape}, found shape {array.shape}")
        return outputs


def _rows_of(matrix: NDArray[np.float32]) -> list[Vector]:
    """The rows of a matrix, each of which is kept without the others."""
    return [row.copy() for row in matrix]
