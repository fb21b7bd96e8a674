"""Running apps, and an encoder that needs no engine."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from model_store import ModelStore
from service.api.state import Services
from service.app import Backends, create_app
from service.domain import Encoding, Vector
from service.errors import EncodingFailed
from service.settings import Settings


class FakeEncoder:
    """Encodes by padding the sum of all features to d; a feature 666 makes it fail. Gates let a test hold it."""

    def __init__(self, version: str = "v1", d: int = 5, modalities: tuple[str, ...] = ("image", "text")) -> None:
        self.version = version
        self.d = d
        self.modalities = modalities
        self.encoded = 0
        self.before: Callable[[], object] = lambda: None

    def encode(self, items: Sequence[Mapping[str, Vector]]) -> list[Encoding]:
        """Encodes a batch."""
        self.before()
        self.encoded += len(items)
        return [self._encode(item) for item in items]

    def _encode(self, item: Mapping[str, Vector]) -> Encoding:
        if any((vector == 666).any() for vector in item.values()):
            raise EncodingFailed("666")
        total = float(sum(vector.sum() for vector in item.values()))
        return Encoding(
            embedding=np.full(self.d, total, dtype=np.float32),
            history_embedding=np.full(self.d, -total, dtype=np.float32),
            confidence=(1 + len(item)) / (1 + len(self.modalities)),
            present=tuple(sorted(item)),
            missing=tuple(name for name in self.modalities if name not in item),
            model_version=self.version,
        )


@pytest.fixture
def fake_encoder() -> FakeEncoder:
    """An encoder of version v1."""
    return FakeEncoder()


@dataclass(frozen=True)
class Running:
    """An app between start and shutdown."""

    app: FastAPI
    client: httpx.AsyncClient
    services: Services


RunApp = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def settings(tmp_path: Path, published_store: ModelStore) -> Settings:
    """Settings of an app on the published store, with its journal beside it; CURRENT is polled often.

    Nothing is searched for but what is asked for, so that tests can count.
    """
    return Settings(
        model_store=published_store.root,
        journal_url=f"sqlite:///{tmp_path}/journal.sqlite3",
        model_poll_s=0.02,
        warm_lists=False,
    )


@pytest.fixture
def run_app() -> RunApp:
    """Starts an app with its lifespan, stops it at the end of the block, and gives a client meanwhile."""

    @asynccontextmanager
    async def run(settings: Settings, backends: Backends | None = None) -> AsyncIterator[Running]:
        app = create_app(settings, backends)
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: dict, receive: Callable, send: Callable) -> None:
                scope["state"] = dict(state)  # as a server does
                await app(scope, receive, send)

            transport = httpx.ASGITransport(with_state)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield Running(app, client, state["services"])

    return run


@pytest.fixture
async def running(run_app: RunApp, settings: Settings) -> AsyncIterator[Running]:
    """A running app on the published store."""
    async with run_app(settings) as running:
        yield running


@pytest.fixture
async def client(running: Running) -> httpx.AsyncClient:
    """A client of the running app."""
    return running.client


@pytest.fixture
def text_model() -> Callable[..., bytes]:
    """Makes an ONNX featurizer of texts: a number of its own for each known text, 0 for others, d_m times."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper

    def make(known: Mapping[str, float], d: int = 4) -> bytes:
        nodes = [
            helper.make_node(
                "LabelEncoder",
                ["text"],
                ["number"],
                domain="ai.onnx.ml",
                keys_strings=list(known),
                values_floats=list(known.values()),
                default_float=0.0,
            ),
            helper.make_node("Unsqueeze", ["number", "last"], ["column"]),
            helper.make_node("Concat", ["column"] * d, ["features"], axis=1),
        ]
        return _model(
            nodes,
            helper.make_tensor_value_info("text", onnx.TensorProto.STRING, ["b"]),
            d,
            [helper.make_tensor("last", onnx.TensorProto.INT64, [1], [1])],
        )

    return make


@pytest.fixture
def image_model() -> Callable[..., bytes]:
    """Makes an ONNX featurizer of images: the mean of each colour, of 255."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper

    def make(height: int = 2, width: int = 4) -> bytes:
        nodes = [
            helper.make_node("Cast", ["image"], ["numbers"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["numbers", "axes"], ["features"], keepdims=0),
        ]
        shape = ["b", height, width, 3]
        return _model(
            nodes,
            helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, shape),
            3,
            [helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2])],
        )

    return make


def _model(nodes: list, source: object, d: int, constants: list) -> bytes:
    onnx = pytest.importorskip("onnx")
    features = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["b", d])
    graph = onnx.helper.make_graph(nodes, "featurizer", [source], [features], constants)
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    data: bytes = model.SerializeToString()
    return data
