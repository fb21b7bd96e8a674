"""The ONNX encoder on a real, tiny model."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_store import ModelStore
from service.adapters.onnx_encoder import OnnxEncoder
from service.adapters.onnx_session import CudaSession, Session, open_session
from service.errors import EncodingFailed, ModelUnavailable

TEXT = np.array([1, 2, 3, 4], np.float32)
IMAGE = np.array([5, 6, 7], np.float32)


def open_encoder(path: Path, **changes: object) -> OnnxEncoder:
    """An encoder for the tiny model."""
    facts: dict = {"modalities": {"image": 3, "text": 4}, "d": 5, "model_version": "v1", "threads": 1} | changes
    return OnnxEncoder(path, facts.pop("modalities"), **facts)


@pytest.fixture
def path(published_store: ModelStore) -> Path:
    """Of the encoder of the published version."""
    return published_store.load().encoder_path


def test_encode_reports_what_was_present(path: Path) -> None:
    """Each item's encoding says what it was made of, and confidence falls with what is missing."""
    both, text, none = open_encoder(path).encode([{"text": TEXT, "image": IMAGE}, {"text": TEXT}, {}])

    assert (both.present, both.missing) == (("image", "text"), ())
    assert (text.present, text.missing) == (("text",), ("image",))
    assert (none.present, none.missing) == ((), ("image", "text"))
    assert both.confidence > text.confidence > none.confidence > 0
    assert both.embedding.shape == (5,)
    assert both.embedding.dtype == np.float32
    assert both.history_embedding == pytest.approx(2 * both.embedding)
    assert both.model_version == "v1"


def test_batch_equals_one_by_one(path: Path) -> None:
    """An item's encoding does not depend on its neighbours, over several batches of the engine."""
    encoder = open_encoder(path)
    items = [{"text": TEXT * n} if n % 2 else {"image": IMAGE * n} for n in range(600)]

    together = encoder.encode(items)

    assert len(together) == 600
    for n in (0, 255, 256, 599):
        np.testing.assert_allclose(together[n].embedding, encoder.encode([items[n]])[0].embedding, rtol=1e-5)
    assert encoder.encode([]) == []


def test_overflow_is_refused(path: Path) -> None:
    """Where the engine gives infinity, nothing is encoded."""
    with pytest.raises(EncodingFailed, match="finite"):
        open_encoder(path).encode([{"text": np.full(4, 3e38, np.float32)}])


def test_wrong_length_is_refused_by_the_engine(path: Path) -> None:
    """An encoder opened with other dimensions than its own fails as EncodingFailed."""
    with pytest.raises(EncodingFailed, match="ONNX Runtime failed"):
        open_encoder(path, modalities={"image": 2, "text": 4}).encode([{}])


def test_files_that_are_no_encoder_are_refused(tmp_path: Path, path: Path) -> None:
    """Garbage, another model's encoder, and no file at all are ModelUnavailable."""
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")

    for bad in (tmp_path / "garbage.onnx", tmp_path / "none.onnx"):
        with pytest.raises(ModelUnavailable, match="cannot load"):
            open_encoder(bad)
    with pytest.raises(ModelUnavailable, match="expected inputs"):
        open_encoder(path, modalities={"audio": 2})


class OnDevice:
    """A session that says it is on a device; it can be lost."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session: Session = open_session(path, threads)
        self.sizes: list[int] = []
        self.lost = False

    def get_providers(self) -> list[str]:
        """As on a device."""
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, outputs: Any, inputs: Any) -> Any:
        """Runs, or fails."""
        if self.lost:
            raise RuntimeError("CUDA failure 700")
        self.sizes.append(len(inputs["present"]))
        return self._session.run(outputs, inputs)


def features(n: int) -> dict[str, np.ndarray]:
    """A batch of the tiny model's inputs."""
    rng = np.random.default_rng(n)
    image, text = (rng.normal(size=(n, d)).astype(np.float32) for d in (3, 4))
    return {"features_image": image, "features_text": text, "present": rng.random((n, 2)) < 0.5}


def on_device(path: Path) -> tuple[CudaSession, OnDevice, list[str]]:
    """A session on what seems a device, the device's, and what it told."""
    device, told = OnDevice(path, 1), []
    return CudaSession(path, 1, told.append, lambda *_: device), device, told


def test_device_is_given_batches_of_few_sizes(path: Path) -> None:
    """They are filled up to one of them, and what fills them up does not come back; larger ones stay as they are."""
    session, device, told = on_device(path)

    for n in (1, 2, 8, 33, 256, 300):
        found, expected = (
            each.run(["embedding", "confidence"], features(n)) for each in (session, open_session(path, 1))
        )
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)

    assert device.sizes == [1, 8, 8, 128, 256, 300]
    assert told == ["cuda"]


def test_lost_device_is_done_without(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The batch that met its end is encoded all the same; from then on the CPU does it, and that is told."""
    session, device, told = on_device(path)
    device.lost = True

    (embedding,) = session.run(["embedding"], features(3))

    np.testing.assert_array_equal(embedding, open_session(path, 1).run(["embedding"], features(3))[0])
    device.lost = False
    session.run(["embedding"], features(3))
    assert (device.sizes, told) == ([], ["cuda", "cpu"])
    assert [record.message for record in caplog.records] == ["onnx_device_lost"]


def test_wrong_inputs_do_not_lose_the_device(path: Path) -> None:
    """What fails on the CPU as well is the caller's fault."""
    session, _, told = on_device(path)

    with pytest.raises(Exception, match="features_text"):
        session.run(["embedding"], features(3) | {"features_text": np.zeros((3, 5), np.float32)})

    assert told == ["cuda"]


def test_encoder_without_a_device_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It encodes on the CPU, whatever was asked for."""
    caplog.set_level(logging.WARNING)
    told: list[str] = []

    wanted = open_encoder(path, provider="cuda", told=told.append)

    plain = open_encoder(path, told=told.append)
    assert told == ["cpu", "cpu"]
    assert [record.message for record in caplog.records] == ["onnx_device_refused"]
    np.testing.assert_array_equal(
        wanted.encode([{"text": TEXT}])[0].embedding, plain.encode([{"text": TEXT}])[0].embedding
    )
