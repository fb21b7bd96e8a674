"""A synthetic model version of any size, published as the trainer would: for benchmarks of the service.

    python -m benchmarks.shop --items 1000000 --users 100000 --store DIR

Item and user vectors lie around common directions of taste, as trained ones do, and are longer for popular items; every
user has a history. The encoder is a linear map of two small modalities.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_store import BundleContents, HistoryRule, IdMap, Manifest, ModelStore

MODALITIES = {"image": 16, "text": 16}
_TASTES = 256
_HISTORY = 24


@dataclass(frozen=True, slots=True)
class Shop:
    """How large a shop is: items, users, numbers in a vector."""

    items: int
    users: int
    d: int = 64


def publish_shop(store: ModelStore, version: str, shop: Shop, seed: int = 0) -> None:
    """Publishes a version of a synthetic shop and promotes it."""
    manifest = Manifest(
        model_version=version,
        preset="synthetic",
        created_at="2026-01-01T00:00:00Z",
        d=shop.d,
        n_users=0,
        n_items=0,
        modalities=MODALITIES,
        history=HistoryRule(),
        journal_watermark=0,
    )
    store.publish(_contents(shop, np.random.default_rng(seed)), _encoder(shop.d, seed), manifest)
    store.promote(version)


def _contents(shop: Shop, rng: np.random.Generator) -> BundleContents:
    popularity = (1.0 / (1 + rng.permutation(shop.items))).astype(np.float32)
    tastes = rng.normal(size=(_TASTES, shop.d)).astype(np.float32)
    items = _around(tastes, shop.items, rng) * (1 + 0.1 * np.log1p(popularity * shop.items))[:, None]
    seen = rng.integers(shop.items, size=(shop.users, _HISTORY)).astype(np.int32)
    return BundleContents(
        users=IdMap(f"user-{n}" for n in range(shop.users)),
        items=IdMap(f"item-{n}" for n in range(shop.items)),
        user_embeddings=_around(tastes, shop.users, rng),
        item_embeddings=items.astype(np.float32),
        history_embeddings=items.astype(np.float32),
        features={name: rng.normal(size=(shop.items, d)).astype(np.float32) for name, d in MODALITIES.items()},
        seen_indptr=np.arange(0, shop.users * _HISTORY + 1, _HISTORY, dtype=np.int64),
        seen_indices=seen.reshape(-1),
        popularity=popularity * shop.items,
        item_columns=("title", "categories"),
        item_rows=[(f"The item of number {n}", f"category-{n % 50}") for n in range(shop.items)],
    )


def _around(tastes: np.ndarray[Any, Any], n: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Vectors (n, d) of length about 1, each near one direction of taste."""
    d = tastes.shape[1]
    vectors = tastes[rng.integers(len(tastes), size=n)] + rng.normal(size=(n, d)).astype(np.float32)
    return np.asarray(vectors / np.sqrt(2 * d), dtype=np.float32)


def _encoder(d: int, seed: int) -> bytes:
    """A linear map of what is present, as ONNX."""
    rng, names = np.random.default_rng(seed), sorted(MODALITIES)
    constants = {"zero": np.zeros((), np.float32), "one": np.ones((), np.float32), "axis": np.array([1], np.int64)}
    nodes = []
    for column, name in enumerate(names):
        constants[f"column_{name}"] = np.array([column], np.int64)
        constants[f"map_{name}"] = (rng.normal(size=(MODALITIES[name], d)) / np.sqrt(d)).astype(np.float32)
        nodes += [
            helper.make_node("Gather", ["present", f"column_{name}"], [f"has_{name}"], axis=1),
            helper.make_node("Where", [f"has_{name}", f"features_{name}", "zero"], [f"kept_{name}"]),
            helper.make_node("MatMul", [f"kept_{name}", f"map_{name}"], [f"part_{name}"]),
        ]
    nodes += [
        helper.make_node("Sum", [f"part_{name}" for name in names], ["embedding"]),
        helper.make_node("Identity", ["embedding"], ["history_embedding"]),
        helper.make_node("Cast", ["present"], ["flags"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["flags"], ["confidence"], axes=[1], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(f"features_{n}", TensorProto.FLOAT, ["b", MODALITIES[n]]) for n in names]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [*inputs, helper.make_tensor_value_info("present", TensorProto.BOOL, ["b", len(names)])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", d]),
            helper.make_tensor_value_info("history_embedding", TensorProto.FLOAT, ["b", d]),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, ["b"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def main() -> int:
    """Publishes one; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shop", description=__doc__)
    parser.add_argument("--items", type=int, default=50_000, help="default 50000")
    parser.add_argument("--users", type=int, default=100_000, help="default 100000")
    parser.add_argument("--store", type=Path, required=True, help="the model store to publish into")
    args = parser.parse_args()
    publish_shop(ModelStore(args.store), "synthetic", Shop(args.items, args.users))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
