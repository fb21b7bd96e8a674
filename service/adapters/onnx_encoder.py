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
        present = np.array([[name in item for name in self._modalities] for item in items], dtype=bool)
        inputs: dict[str, NDArray[Any]] = {"present": present.reshape(len(items), len(self._modalities))}
        for name, d_m in self._modalities.items():
            rows = np.zeros((len(items), d_m), dtype=np.float32)
            for row, item in zip(rows, items, strict=True):
                if name in item:
                    row[:] = item[name]
            inputs[f"features_{name}"] = rows
        outputs = self._run(inputs)
        names = tuple(self._modalities)
        return [
            Encoding(
                embedding=outputs["embedding"][i].copy(),
                history_embedding=outputs["history_embedding"][i].copy() if "history_embedding" in outputs else None,
                confidence=float(outputs["confidence"][i]),
                present=tuple(sorted(name for name in names if name in item)),
                missing=tuple(sorted(name for name in names if name not in item)),
                model_version=self._model_version,
            )
            for i, item in enumerate(items)
        ]

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
