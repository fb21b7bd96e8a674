"""The exported encoder computes what the model computes, or is refused."""

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_store import HistoryRule, LeastSquaresRule, ModelStore
from training.config import TrainConfig
from training.dataset import Dataset
from training.errors import ExportRefused
from training.export import TOLERANCE, bundle_contents, check_encoder, export_encoder, make_manifest
from training.models import Embeddings
from training.splits import ordered_history

MODALITIES = {"audio": 3, "image": 4, "text": 6}
PATTERNS = list(product([False, True], repeat=len(MODALITIES)))
OUTPUTS = ["embedding", "history_embedding", "confidence"]


@pytest.fixture(scope="module")
def trained(make_board: Callable[..., Dataset], learn: Callable[..., Any]) -> Any:
    """A calibrated model of three modalities, and what it was trained on."""
    trained = learn(make_board(20, 16, new=[0], bare=[3], missing=0.3, modalities=MODALITIES), d=8, epochs=3)
    trained.model.calibrate(1.5)
    return trained


@pytest.fixture(scope="module")
def encoded(trained: Any) -> bytes:
    """The model's encoder, exported."""
    return export_encoder(trained.model, trained.prepared.dataset)


@pytest.fixture(scope="module")
def session(encoded: bytes) -> Any:
    """The engine the service uses."""
    return onnxruntime.InferenceSession(encoded, providers=["CPUExecutionProvider"])


def random_items(b: int, present: NDArray[np.bool_] | None = None) -> dict[str, NDArray[Any]]:
    """Inputs of ``b`` items, on the scale of the features and beyond; presence is random where it is not given."""
    rng = np.random.default_rng(b)
    features = {f"features_{n}": 3 * rng.normal(size=(b, d_m)).astype(np.float32) for n, d_m in MODALITIES.items()}
    return features | {"present": rng.random((b, 3)) < 0.6 if present is None else present}


def by_torch(encoder: nn.Module, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    """The outputs of the encoder itself."""
    with torch.no_grad():
        return [output.numpy() for output in encoder(*(torch.from_numpy(x) for x in inputs.values()))]


class Exported:
    """Fits ``Model`` as far as an export goes: an encoder, and users by history or not."""

    def __init__(self, encoder: nn.Module, rule: HistoryRule | None = None) -> None:
        self.network = encoder
        self.history_rule = rule

    def encoder(self) -> nn.Module:
        """The encoder, as it came."""
        return self.network

    def batches(self, rng: np.random.Generator) -> Iterator[Any]:
        """Not asked for in an export."""
        raise NotImplementedError

    def loss(self, batch: Any, progress: float) -> Mapping[str, Tensor]:
        """Not asked for in an export."""
        raise NotImplementedError

    def embeddings(self, features: object = None) -> Embeddings:
        """Not asked for in an export."""
        raise NotImplementedError

    def fold_in(self, indptr: NDArray[np.int64], indices: NDArray[np.int32]) -> NDArray[np.float32]:
        """Not asked for in an export."""
        raise NotImplementedError

    def as_new(self) -> NDArray[np.float32]:
        """Not asked for in an export."""
        raise NotImplementedError

    def calibrate(self, gain: float) -> None:
        """Not asked for in an export."""
        raise NotImplementedError


class Linear(nn.Module):
    """An encoder that adds up linear maps; a leaky one takes absent rows for zeros instead of leaving them out."""

    def __init__(self, *, leaky: bool) -> None:
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(d_m, 4, bias=False) for d_m in MODALITIES.values()])
        self.leaky = leaky

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and confidence."""
        *features, present = inputs
        shown = [x if self.leaky else torch.where(present[:, m : m + 1], x, 0.0) for m, x in enumerate(features)]
        embedding = torch.stack([learned(x) for learned, x in zip(self.maps, shown, strict=True)]).sum(dim=0)
        return embedding, present.float().mean(dim=1)


def test_inputs_and_outputs_are_those_of_the_bundle_format(session: Any) -> None:
    """Names, types and widths as documented, the first dimension free."""
    inputs = {put.name: (put.type, put.shape) for put in session.get_inputs()}
    outputs = {put.name: (put.type, put.shape) for put in session.get_outputs()}

    assert {name: (kind, shape[1:]) for name, (kind, shape) in inputs.items()} == {
        "features_audio": ("tensor(float)", [3]),
        "features_image": ("tensor(float)", [4]),
        "features_text": ("tensor(float)", [6]),
        "present": ("tensor(bool)", [3]),
    }
    assert {name: (kind, shape[1:]) for name, (kind, shape) in outputs.items()} == {
        "embedding": ("tensor(float)", [8]),
        "history_embedding": ("tensor(float)", [8]),
        "confidence": ("tensor(float)", []),
    }
    assert list(outputs) == OUTPUTS
    assert all(isinstance(shape[0], str) for _, shape in [*inputs.values(), *outputs.values()])


@pytest.mark.parametrize("b", [1, 2, 7, 64, 256])
def test_onnx_computes_what_torch_computes(trained: Any, session: Any, b: int) -> None:
    """Within 1e-4 for every batch size, also those the exporter never saw."""
    inputs = random_items(b)

    found, expected = session.run(OUTPUTS, inputs), by_torch(trained.model.encoder(), inputs)

    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_onnx_computes_every_pattern_of_presence(trained: Any, session: Any, pattern: tuple[bool, ...]) -> None:
    """From everything there to nothing at all; with nothing all items are alike and confidence is 0."""
    inputs = random_items(5, np.array([pattern] * 5))

    found, expected = session.run(OUTPUTS, inputs), by_torch(trained.model.encoder(), inputs)

    for ours, theirs in zip(found, expected, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert (found[2] > 0).all() == any(pattern)
    assert (np.ptp(found[0], axis=0) == 0).all() == (not any(pattern))


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 3e38, 0.0])
def test_contents_of_absent_rows_change_no_bit_of_onnx(session: Any, garbage: float) -> None:
    """NaN, infinity or huge numbers where a modality is absent leave all outputs as they are, in any batch size."""
    for b in (1, 7, 64):
        clean = random_items(b)
        spoilt = dict(clean)
        for m, name in enumerate(MODALITIES):
            there = clean["present"][:, m : m + 1]
            spoilt[f"features_{name}"] = np.where(there, clean[f"features_{name}"], np.float32(garbage))

        for one, other in zip(session.run(OUTPUTS, clean), session.run(OUTPUTS, spoilt), strict=True):
            assert one.tobytes() == other.tobytes()


def test_item_is_encoded_alike_alone_and_in_company(session: Any) -> None:
    """An item's neighbours in a batch do not change it by more than rounding."""
    together = random_items(64)
    embeddings = session.run(["embedding"], together)[0]

    for row in range(0, 64, 9):
        alone = session.run(["embedding"], {name: x[row : row + 1] for name, x in together.items()})[0]
        np.testing.assert_allclose(alone[0], embeddings[row], rtol=1e-4, atol=1e-6)


def test_encoder_places_new_items_where_the_table_has_them(trained: Any, session: Any) -> None:
    """The gain of new items is part of the export: what arrives online stands beside the table's new items."""
    dataset, tables = trained.prepared.dataset, trained.model.embeddings()
    inputs = {f"features_{name}": features.with_nan() for name, features in dataset.features.items()}

    embedding, history, _ = session.run(OUTPUTS, inputs | {"present": dataset.present})

    np.testing.assert_allclose(embedding[0], tables.items[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(history[0], tables.history[0], rtol=0, atol=1e-4)


def test_encoder_changed_after_the_export_is_refused(trained: Any, encoded: bytes) -> None:
    """A single bias that moved by 0.01 is noticed, with output, batch size and difference."""
    encoder = copy.deepcopy(trained.model.encoder())
    with torch.no_grad():
        encoder.prior_mean += 0.01

    with pytest.raises(ExportRefused, match=r"embedding, batch of \d+: expected a difference .* of at most 0.0001"):
        check_encoder(encoded, encoder, trained.prepared.dataset)


def test_sound_encoder_is_accepted(trained: Any, encoded: bytes) -> None:
    """The check is silent on what the export returned."""
    check_encoder(encoded, trained.model.encoder(), trained.prepared.dataset)


def test_encoder_that_leaks_absent_rows_is_refused(trained: Any) -> None:
    """It agrees with torch on real features, but gives NaN for an item without text because of what stands there."""
    with pytest.raises(ExportRefused, match=r"embedding, batch of \d+: .* garbage in absent rows, .* of nan"):
        export_encoder(Exported(Linear(leaky=True)), trained.prepared.dataset)


class Traces(nn.Module):
    """An encoder that lets a little through of what stands in absent rows, far less than the tolerance."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As the encoder, and a little more."""
        embedding, *others = self.encoder(*inputs)
        trace = 1e-7 * torch.tanh(torch.nan_to_num(inputs[0], nan=1.0)).sum(dim=1, keepdim=True)
        return embedding + trace, *others


def test_encoder_that_lets_traces_through_is_refused(trained: Any) -> None:
    """Absent rows are to change no bit."""
    with pytest.raises(ExportRefused, match="garbage in absent rows"):
        export_encoder(Exported(Traces(trained.model.encoder())), trained.prepared.dataset)


def test_model_without_history_rule_exports_two_outputs(trained: Any) -> None:
    """Where users exist only as rows there is no history embedding to speak of."""
    session = onnxruntime.InferenceSession(
        export_encoder(Exported(Linear(leaky=False)), trained.prepared.dataset), providers=["CPUExecutionProvider"]
    )

    assert [output.name for output in session.get_outputs()] == ["embedding", "confidence"]


def test_tolerance_is_the_documented_one() -> None:
    """1e-4, absolute."""
    assert TOLERANCE == 1e-4


def test_contents_are_the_tables_and_the_data(trained: Any) -> None:
    """Absent rows are NaN again, popularity counts the given histories, ids and metadata go along."""
    prepared = trained.prepared
    indptr, indices = ordered_history(prepared.dataset, prepared.codes)

    contents = bundle_contents(prepared.dataset, trained.model.embeddings(), indptr, indices)

    assert list(contents.items) == list(prepared.dataset.items)
    assert contents.item_columns == ("community",)
    assert contents.popularity.tolist() == np.bincount(indices, minlength=16).tolist()
    assert contents.popularity[0] == 0
    for name, features in prepared.dataset.features.items():
        assert np.array_equal(np.isnan(contents.features[name]).all(axis=1), ~features.present)
    assert np.array_equal(contents.features["text"][4], prepared.dataset.features["text"].with_nan()[4], equal_nan=True)


def test_manifest_tells_what_was_trained(trained: Any) -> None:
    """Preset, configuration, metrics, rule and modalities; two exports never share a version."""
    config = TrainConfig(seed=7)

    one, other = (make_manifest(trained.prepared.dataset, trained.model, config, {"all": None}, 8) for _ in range(2))

    assert one.preset == "i3mrec"
    assert one.model_version.endswith("Z-i3mrec")
    assert one.model_version < other.model_version
    assert one.created.utcoffset() is not None
    assert (one.d, one.modalities, one.history) == (8, MODALITIES, trained.model.history_rule)
    assert one.training["seed"] == 7
    assert one.metrics == {"all": None}


def test_bundle_folds_histories_in_to_the_rows_of_its_users(trained: Any, encoded: bytes, tmp_path: Path) -> None:
    """From the bundle alone, the manifest's rule turns each user's history into the very row of the user table."""
    prepared, model = trained.prepared, trained.model
    indptr, indices = ordered_history(prepared.dataset, prepared.codes)
    contents = bundle_contents(prepared.dataset, model.embeddings(), indptr, indices)
    store = ModelStore(tmp_path / "store")
    manifest = make_manifest(prepared.dataset, model, trained.config, {"all": None}, 8)

    bundle = store.load(store.publish(contents, encoded, manifest).model_version)

    rule, users = bundle.manifest.history, bundle.user_embeddings
    assert isinstance(rule, LeastSquaresRule)
    assert bundle.history_embeddings is not None
    folded = [rule.encode(bundle.history_embeddings[indices[start:stop]]) for start, stop in pairwise(indptr)]
    np.testing.assert_allclose(folded, users, rtol=0, atol=1e-4)
    assert np.abs(users).max(axis=1).min() > 0.01
