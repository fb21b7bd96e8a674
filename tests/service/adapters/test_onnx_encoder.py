"""The ONNX encoder on a real, tiny model."""

from pathlib import Path

import numpy as np
import pytest

from model_store import ModelStore
from service.adapters.onnx_encoder import OnnxEncoder
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
