"""Writes ``tests/data/bundle_v1``, the golden bundle: a tiny one of format 1 that every later version must read.

Run ``python tools/make_golden_bundle.py DIRECTORY`` only for a new format version; the committed bundle never changes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_store import BundleContents, HistoryRule, IdMap, Manifest, write_bundle

D = 4
MODALITIES = {"image": 3, "text": 4}
# Columns of `present`, alphabetical: image, text.
PROJECTIONS = {
    "image": [[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.5]],
    "text": [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
}
ABSENT = float("nan")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the bundle into a new directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="the directory to make; it must not exist")
    directory: Path = parser.parse_args(argv).directory
    directory.mkdir(parents=True)
    write_bundle(directory, contents(), encoder().SerializeToString(deterministic=True), manifest())
    return 0


def contents() -> BundleContents:
    """Three users and five items, of which one lacks its image, one its text and one both."""
    features = {
        "image": _floats([[1, 0, 0], [0, 2, 0], [ABSENT] * 3, [0, 0, 3], [ABSENT] * 3]),
        "text": _floats([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [ABSENT] * 4, [ABSENT] * 4]),
    }
    items = _floats([[2, 0, 0, 0.5], [0, 3, 0, 1], [0, 0, 1, 0], [0, 0, 3, 1.5], [0, 0, 0, 0]])
    return BundleContents(
        users=IdMap(["u-1", "u-2", "ü\u2028🙂"]),
        items=IdMap(["i-1", "i-2", "i-3", "i-4", "プリン\u2028"]),
        user_embeddings=_floats([[1, 0, 0, 0], [0, 1, 0, 0.25], [0, 0, 0.5, 0.5]]),
        item_embeddings=items,
        history_embeddings=items / np.float32(2),
        features=features,
        seen_indptr=np.array([0, 2, 3, 3], dtype=np.int64),
        seen_indices=np.array([1, 0, 2], dtype=np.int32),
        popularity=_floats([1, 1, 1, 0, 0]),
        item_columns=("title", "category"),
        item_rows=[("First", "a"), ("Second", "b"), ("Third", ""), ("", "a"), ("", "")],
    )


def manifest() -> Manifest:
    """The facts of the golden bundle."""
    return Manifest(
        model_version="golden-1",
        preset="golden",
        created_at="2026-01-02T03:04:05Z",
        d=D,
        n_users=0,
        n_items=0,
        modalities=MODALITIES,
        history=HistoryRule(alpha=0.5, max_items=3),
        metrics={"cold": {"recall@20": 0.25}},
        training={"seed": 7},
        journal_watermark=0,
    )


def encoder() -> onnx.ModelProto:
    """Sums x_m P_m over the present modalities.

    ``history_embedding`` is half of ``embedding``; ``confidence`` is (1 + number present) / 3.
    """
    inputs = [_value(f"features_{name}", TensorProto.FLOAT, d_m) for name, d_m in MODALITIES.items()]
    inputs.append(_value("present", TensorProto.BOOL, len(MODALITIES)))
    outputs = [_value(name, TensorProto.FLOAT, D) for name in ("embedding", "history_embedding")]
    outputs.append(_value("confidence", TensorProto.FLOAT))
    constants = {"zero": _floats(0), "one": _floats(1), "two": _floats(2), "three": _floats(3)}
    constants |= {f"projection_{name}": _floats(matrix) for name, matrix in PROJECTIONS.items()}
    columns = {f"column_{i}": np.array([i], dtype=np.int64) for i in range(len(MODALITIES))}
    columns["last_axis"] = np.array([1], dtype=np.int64)
    tensors = [numpy_helper.from_array(array, name) for name, array in {**constants, **columns}.items()]
    graph = helper.make_graph(_nodes(), "golden", inputs, outputs, initializer=tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="i3rec")
    onnx.checker.check_model(model, full_check=True)
    return model


def _nodes() -> list[onnx.NodeProto]:
    nodes = []
    for column, name in enumerate(MODALITIES):
        nodes += [
            helper.make_node("Gather", ["present", f"column_{column}"], [f"present_{name}"], axis=1),
            # Where, not a product: what stands in an absent row, NaN even, must not matter.
            helper.make_node("Where", [f"present_{name}", f"features_{name}", "zero"], [f"masked_{name}"]),
            helper.make_node("MatMul", [f"masked_{name}", f"projection_{name}"], [f"part_{name}"]),
        ]
    return [
        *nodes,
        helper.make_node("Sum", [f"part_{name}" for name in MODALITIES], ["embedding"]),
        helper.make_node("Div", ["embedding", "two"], ["history_embedding"]),
        helper.make_node("Cast", ["present"], ["present_floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["present_floats", "last_axis"], ["n_present"], keepdims=0),
        helper.make_node("Add", ["n_present", "one"], ["n_present_plus_one"]),
        helper.make_node("Div", ["n_present_plus_one", "three"], ["confidence"]),
    ]


def _value(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["b", *shape])


def _floats(values: object) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


if __name__ == "__main__":
    sys.exit(main())
