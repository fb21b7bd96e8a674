"""The golden bundle: what format 1 means, byte for byte, for as long as format 1 is read."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from model_store import Bundle, HistoryRule, load_bundle

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "bundle_v1"
NAN = float("nan")


@pytest.fixture
def golden() -> Bundle:
    """The committed bundle, every byte compared with its checksum."""
    return load_bundle(GOLDEN)


def test_golden_facts_are_read(golden: Bundle) -> None:
    """The manifest of the committed bundle means what it meant when it was written."""
    manifest = golden.manifest

    assert (golden.version, manifest.preset, manifest.created_at) == ("golden-1", "golden", "2026-01-02T03:04:05Z")
    assert (manifest.format_version, manifest.d, manifest.n_users, manifest.n_items) == (1, 4, 3, 5)
    assert manifest.modalities == {"image": 3, "text": 4}
    assert manifest.history == HistoryRule(alpha=0.5, max_items=3)
    assert (manifest.metrics, manifest.training) == ({"cold": {"recall@20": 0.25}}, {"seed": 7})
    assert manifest.journal_watermark == 0
    assert manifest.featurizers == {}


def test_golden_ids_and_metadata_are_read(golden: Bundle) -> None:
    """Ids with a line separator and emoji, and empty metadata, come back as they were."""
    assert list(golden.users) == ["u-1", "u-2", "ü\u2028🙂"]
    assert list(golden.items) == ["i-1", "i-2", "i-3", "i-4", "プリン\u2028"]
    assert [golden.metadata(row) for row in range(5)] == [
        {"title": "First", "category": "a"},
        {"title": "Second", "category": "b"},
        {"title": "Third"},
        {"category": "a"},
        {},
    ]


def test_golden_arrays_are_read(golden: Bundle) -> None:
    """Every array has its exact values."""
    items = [[2, 0, 0, 0.5], [0, 3, 0, 1], [0, 0, 1, 0], [0, 0, 3, 1.5], [0, 0, 0, 0]]

    assert golden.user_embeddings.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0.25], [0, 0, 0.5, 0.5]]
    assert golden.item_embeddings.tolist() == items
    assert golden.history_embeddings is not None
    assert (golden.history_embeddings * 2).tolist() == items
    np.testing.assert_array_equal(golden.features["image"], [[1, 0, 0], [0, 2, 0], [NAN] * 3, [0, 0, 3], [NAN] * 3])
    np.testing.assert_array_equal(
        golden.features["text"], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [NAN] * 4, [NAN] * 4]
    )
    assert [golden.seen(row).tolist() for row in range(3)] == [[1, 0], [2], []]
    assert golden.popularity.tolist() == [1, 1, 1, 0, 0]


def test_golden_encoder_gives_the_item_embeddings(golden: Bundle) -> None:
    """The encoder's names, types and rule of absence: NaN in absent rows does not matter, and all may be absent."""
    session = onnxruntime.InferenceSession(golden.encoder_path, providers=["CPUExecutionProvider"])
    features = {f"features_{name}": np.asarray(table) for name, table in golden.features.items()}
    present = np.stack(
        [~np.isnan(golden.features[name]).any(axis=1) for name in golden.manifest.modality_names], axis=1
    )

    outputs = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {**features, "present": present}),
            strict=True,
        )
    )

    np.testing.assert_allclose(outputs["embedding"], golden.item_embeddings)
    np.testing.assert_allclose(outputs["history_embedding"], np.asarray(golden.history_embeddings))
    np.testing.assert_allclose(outputs["confidence"], np.array([3, 3, 2, 2, 1]) / 3, rtol=1e-6)


def test_golden_script_writes_the_same_arrays(tmp_path: Path) -> None:
    """The script that made the bundle still makes it; only the encoder's bytes may depend on the version of onnx."""
    script = ROOT / "tools" / "make_golden_bundle.py"

    subprocess.run([sys.executable, "-P", script, tmp_path / "made"], check=True, cwd=ROOT)

    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    committed = {path.name: path.read_bytes() for path in GOLDEN.iterdir()}
    assert made.keys() == committed.keys()
    same = made.keys() - {"encoder.onnx", "manifest.json"}
    assert {name: made[name] for name in same} == {name: committed[name] for name in same}
