"""From a trained model to a published bundle: ONNX, checked against torch, and the tables."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from model_store import BundleContents, Manifest
from training.config import TrainConfig
from training.dataset import Dataset
from training.errors import ExportRefused
from training.models.contract import Embeddings, Encodes

TOLERANCE = 1e-4
_BATCHES = (1, 2, 7, 64)
_OPSET = 20


def export_encoder(model: Encodes, dataset: Dataset) -> bytes:
    """The model's encoder as ONNX bytes, after comparing it with torch on real and on absent features.

    Raises:
        ExportRefused: an output differs from torch by more than ``TOLERANCE``, or depends on an absent row's contents.
    """
    encoder = model.encoder().cpu().eval()
    names = list(dataset.features)
    outputs = ["embedding", "history_embedding", "confidence"] if model.history_rule else ["embedding", "confidence"]
    encoded = _to_onnx(encoder, [f.dim for f in dataset.features.values()], names, outputs)
    check_encoder(encoded, encoder, dataset)
    return encoded


def _to_onnx(encoder: nn.Module, dims: list[int], names: list[str], outputs: list[str]) -> bytes:
    example = (*(torch.zeros(2, dim) for dim in dims), torch.ones(2, len(dims), dtype=torch.bool))
    batch = torch.export.Dim.DYNAMIC
    for chatty in ("onnxscript", "torch.onnx"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own internals; what it made is checked below
        program = torch.onnx.export(
            encoder,
            example,
            dynamo=True,
            dynamic_shapes=(tuple({0: batch} for _ in example),),
            input_names=[*(f"features_{name}" for name in names), "present"],
            output_names=outputs,
            opset_version=_OPSET,
            verbose=False,
        )
    if program is None:
        raise ExportRefused("torch made no ONNX program")
    encoded: bytes = program.model_proto.SerializeToString()
    return encoded


def check_encoder(encoded: bytes, encoder: nn.Module, dataset: Dataset) -> None:
    """Compares ONNX Runtime with torch for several batch sizes, real features and random presence.

    Raises:
        ExportRefused: with the output, the batch size and the difference.
    """
    session = onnxruntime.InferenceSession(encoded, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for size in _BATCHES:
        rows = rng.integers(0, len(dataset.items), size)
        present = np.stack([f.present[rows] for f in dataset.features.values()], axis=1)
        present &= rng.random(present.shape) < 0.7  # noqa: PLR2004 - any share that leaves all patterns likely
        features = {name: f.matrix[rows] for name, f in dataset.features.items()}
        expected = _run_torch(encoder, features, present)
        garbage = {name: _spoil(x, present[:, m]) for m, (name, x) in enumerate(features.items())}
        found, spoiled = (
            session.run(None, {**{f"features_{n}": x for n, x in given.items()}, "present": present})
            for given in (features, garbage)
        )
        for output, ours, theirs, other in zip(session.get_outputs(), expected, found, spoiled, strict=True):
            difference = float(np.abs(theirs - ours).max(initial=0))
            if not difference <= TOLERANCE:
                raise ExportRefused(
                    f"{output.name}, batch of {size}: expected a difference from torch of at most "
                    f"{TOLERANCE}, found {difference}"
                )
            if not np.array_equal(theirs, other):
                difference = float(np.abs(theirs - other).max())
                raise ExportRefused(
                    f"{output.name}, batch of {size}: expected the same with garbage in absent rows, "
                    f"found a difference of {difference}"
                )


def _run_torch(
    encoder: nn.Module, features: Mapping[str, NDArray[np.float32]], present: NDArray[np.bool_]
) -> list[NDArray[np.float32]]:
    with torch.no_grad():
        outputs = encoder(*(torch.from_numpy(x) for x in features.values()), torch.from_numpy(present))
    return [output.numpy() for output in outputs]


def _spoil(x: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
    garbage = np.where(np.arange(x.shape[1]) % 2, np.float32(np.nan), np.float32(3e38))
    return np.where(present[:, None], x, garbage).astype(np.float32)


def bundle_contents(
    dataset: Dataset, embeddings: Embeddings, indptr: NDArray[np.int64], indices: NDArray[np.int32]
) -> BundleContents:
    """What is published of a model; ``indptr`` and ``indices`` are the histories the users were encoded from."""
    return BundleContents(
        users=dataset.users,
        items=dataset.items,
        user_embeddings=embeddings.users,
        item_embeddings=embeddings.items,
        history_embeddings=embeddings.history,
        features={name: f.with_nan() for name, f in dataset.features.items()},
        seen_indptr=indptr,
        seen_indices=indices,
        popularity=np.bincount(indices, minlength=dataset.n_items).astype(np.float32),
        item_columns=dataset.item_columns,
        item_rows=dataset.item_rows,
    )


def make_manifest(
    dataset: Dataset, model: Encodes, config: TrainConfig, metrics: Mapping[str, Any], d: int
) -> Manifest:
    """The manifest of a model trained now; its version is the time and the preset."""
    now = datetime.now(UTC)
    return Manifest(
        model_version=f"{now:%Y%m%dT%H%M%S%f}Z-{config.preset}",
        preset=config.preset,
        created_at=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        d=d,
        n_users=dataset.n_users,
        n_items=dataset.n_items,
        modalities={name: f.dim for name, f in dataset.features.items()},
        history=model.history_rule,
        metrics=metrics,
        training=asdict(config),
        journal_watermark=dataset.journal.seq if dataset.journal else 0,
    )
