"""Servers of others, with the users and items of a shop: who serves lists by HTTP in other ways.

    PYTHON -m benchmarks.peer_servers qdrant --store DIR --port 9001

PYTHON is that of an environment of its own with what benchmarks/peers.txt names. qdrant-client's local mode and
milvus-lite search in the process of a FastAPI route that leaves out what the user has seen; cornac comes with a server,
which gunicorn runs here.
"""

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from model_store import Bundle, ModelStore

Search = Callable[[int, list[int]], list[dict[str, Any]]]  # row of a user, rows they have seen → places of a list

_K = 20
_CHUNK = 1000


def qdrant(bundle: Bundle) -> Search:
    """qdrant-client in local mode, in memory."""
    client_module: Any = importlib.import_module("qdrant_client")
    models: Any = importlib.import_module("qdrant_client.models")
    client = client_module.QdrantClient(":memory:")
    size = bundle.item_embeddings.shape[1]
    client.create_collection("items", models.VectorParams(size=size, distance=models.Distance.DOT))
    for start in range(0, len(bundle.items), _CHUNK):
        vectors = np.asarray(bundle.item_embeddings[start : start + _CHUNK])
        ids = list(range(start, start + len(vectors)))
        client.upsert("items", models.Batch(ids=ids, vectors=vectors.tolist()))

    def search(user: int, seen: list[int]) -> list[dict[str, Any]]:
        unseen = models.Filter(must_not=[models.HasIdCondition(has_id=seen)])
        vector = np.asarray(bundle.user_embeddings[user]).tolist()
        found = client.query_points("items", vector, query_filter=unseen, limit=_K).points
        return [{"item_id": bundle.items.id(point.id), "score": point.score} for point in found]

    return search


def milvus(bundle: Bundle) -> Search:
    """milvus-lite, every vector looked at."""
    pymilvus: Any = importlib.import_module("pymilvus")
    client = pymilvus.MilvusClient(str(Path(tempfile.mkdtemp(prefix="i3rec-peers-")) / "items.db"))
    client.create_collection(
        "items", dimension=bundle.item_embeddings.shape[1], metric_type="IP", index_type="FLAT", auto_id=False
    )
    for start in range(0, len(bundle.items), _CHUNK):
        vectors = np.asarray(bundle.item_embeddings[start : start + _CHUNK])
        client.insert("items", [{"id": start + n, "vector": vector.tolist()} for n, vector in enumerate(vectors)])

    def search(user: int, seen: list[int]) -> list[dict[str, Any]]:
        vector = np.asarray(bundle.user_embeddings[user]).tolist()
        found = client.search("items", [vector], limit=_K, filter=f"id not in {seen}")[0]
        return [{"item_id": bundle.items.id(hit["id"]), "score": hit["distance"]} for hit in found]

    return search


def application(bundle: Bundle, search: Search) -> Any:
    """A FastAPI app with one route, ``GET /recommend/{user_id}``."""
    fastapi: Any = importlib.import_module("fastapi")
    app = fastapi.FastAPI()

    async def recommend(user_id: str) -> dict[str, Any]:
        user = bundle.users.row(user_id)
        first, last = np.asarray(bundle.seen_indptr[user : user + 2]).tolist()
        return {"user_id": user_id, "items": search(user, np.asarray(bundle.seen_indices[first:last]).tolist())}

    app.add_api_route("/recommend/{user_id}", recommend, response_model=None)
    return app


def save_for_cornac(bundle: Bundle, directory: Path) -> Path:
    """Keeps the shop as a model of matrix factorisation of cornac's; returns where."""
    cornac: Any = importlib.import_module("cornac")
    names, ends = (list(bundle.users), list(bundle.items)), np.asarray(bundle.seen_indptr).tolist()
    histories = (np.asarray(bundle.seen_indices[first:last]).tolist() for first, last in pairwise(ends))
    seen = cornac.data.Dataset.build(
        [(user, names[1][row], 1.0) for user, rows in zip(names[0], histories, strict=True) for row in rows],
        global_uid_map={name: row for row, name in enumerate(names[0])},
        global_iid_map={name: row for row, name in enumerate(names[1])},
        exclude_unknowns=False,
    )
    d = bundle.item_embeddings.shape[1]
    factors = {"U": np.array(bundle.user_embeddings), "V": np.array(bundle.item_embeddings)}
    biases = {"Bu": np.zeros(len(names[0]), np.float32), "Bi": np.zeros(len(names[1]), np.float32)}
    model = cornac.models.MF(k=d, trainable=False, init_params={**factors, **biases})
    model.fit(seen)
    return Path(model.save(str(directory), save_trainset=True))


def serve_cornac(bundle: Bundle, port: int) -> None:
    """Becomes cornac's own server: ``GET /recommend?uid=USER&k=20&remove_seen=true``."""
    model = save_for_cornac(bundle, Path(tempfile.mkdtemp(prefix="i3rec-peers-")))
    environment = {**os.environ, "MODEL_PATH": str(model), "MODEL_CLASS": "cornac.models.MF"}
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{port}"]
    os.execve(sys.executable, [*command, "--log-level", "error", "cornac.serving.app:app"], environment)  # noqa: S606


def main() -> int:
    """Serves until it is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer_servers", description=__doc__)
    parser.add_argument("server", choices=("qdrant", "milvus", "cornac"))
    parser.add_argument("--store", type=Path, required=True, help="of the shop")
    parser.add_argument("--port", type=int, required=True, help="of this machine alone")
    args = parser.parse_args()
    bundle = ModelStore(args.store).load()
    if args.server == "cornac":
        serve_cornac(bundle, args.port)
    uvicorn: Any = importlib.import_module("uvicorn")
    app = application(bundle, {"qdrant": qdrant, "milvus": milvus}[args.server](bundle))
    uvicorn.run(app, port=args.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
