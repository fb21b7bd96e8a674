"""The manifest: canonical, complete, and sealed by a checksum of itself."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store import CorruptBundle, IncompatibleBundle, LeastSquaresRule, Manifest
from model_store.manifest import read_manifest, write_manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
).filter(lambda value: "\ud800" not in json.dumps(value))
LEAST_SQUARES = {"diagonal": [1.0, 2.0], "ridge": 0.5, "max_items": 5}  # sound where d is 2
MakeManifest = Callable[..., Manifest]
Sign = Callable[..., None]


@settings(deadline=None)
@given(metrics=st.dictionaries(st.text(), JSON, max_size=4), watermark=st.integers(0, 2**63))
def test_reading_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, Any], watermark: int
) -> None:
    """Whatever JSON can hold survives the round trip, unicode and large numbers included."""
    path = tmp_path_factory.mktemp("manifest") / "manifest.json"
    manifest = Manifest(
        "v1", "p", "2026-01-01T00:00:00+01:00", 2, 0, 0, {}, metrics=metrics, journal_watermark=watermark
    )

    write_manifest(path, manifest)

    assert read_manifest(path) == manifest


@settings(deadline=None)
@given(
    diagonal=st.lists(st.floats(0, exclude_min=True, allow_infinity=False), min_size=1, max_size=5),
    ridge=st.floats(0, allow_infinity=False),
    max_items=st.integers(1),
)
def test_least_squares_rule_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, diagonal: list[float], ridge: float, max_items: int
) -> None:
    """Its numbers come back bit by bit, as a rule of the same kind that can be compared."""
    path = tmp_path_factory.mktemp("manifest") / "manifest.json"
    rule = LeastSquaresRule(tuple(diagonal), ridge, max_items)

    write_manifest(path, Manifest("v1", "p", "2026-01-01T00:00:00Z", len(diagonal), 0, 0, {}, history=rule))

    assert read_manifest(path).history == rule


@pytest.mark.parametrize("diagonal", [[1.0], [1.0, 2.0, 3.0]])
def test_diagonal_of_another_length_than_d_is_corrupt(
    bundle_directory: Path, sign: Sign, diagonal: list[float]
) -> None:
    """The bundle's d is 2: one number or three are refused, and both lengths are named."""
    sign(bundle_directory, history={**LEAST_SQUARES, "diagonal": diagonal})

    with pytest.raises(CorruptBundle, match=f"expected a diagonal of 2 numbers, found {len(diagonal)}"):
        read_manifest(bundle_directory / "manifest.json")


def test_sealed_least_squares_rule_is_read(bundle_directory: Path, sign: Sign) -> None:
    """What the malformed rules are variations of is sound itself."""
    sign(bundle_directory, history=LEAST_SQUARES)

    assert read_manifest(bundle_directory / "manifest.json").history == LeastSquaresRule((1.0, 2.0), 0.5, 5)


def test_the_checksum_seals_all_other_facts(make_manifest: MakeManifest) -> None:
    """The text is JSON with sorted keys, two spaces and a final newline; ``checksum`` is its sha256 without itself."""
    text = make_manifest(metrics={"ndcg@20": 0.1}).to_json()

    facts = json.loads(text)
    checksum = facts.pop("checksum")
    plain = json.dumps(facts, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert checksum == hashlib.sha256(plain.encode()).hexdigest()
    assert text == json.dumps({**facts, "checksum": checksum}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_metrics_may_be_keyed_by_numbers(tmp_path: Path, make_manifest: MakeManifest) -> None:
    """Keys become strings before they are sorted, so 5 and 10 read back as sound text."""
    path = tmp_path / "manifest.json"

    write_manifest(path, make_manifest(metrics={5: 0.1, 10: 0.2}, training={"ks": (5, 10)}))

    assert read_manifest(path).metrics == {"5": 0.1, "10": 0.2}
    assert read_manifest(path).training == {"ks": [5, 10]}


@pytest.mark.parametrize("metrics", [{"a": float("nan")}, {"a": float("inf")}, {"a": Path()}, {"a": "\ud800"}])
def test_facts_json_cannot_carry_are_refused(
    tmp_path: Path, make_manifest: MakeManifest, metrics: dict[str, Any]
) -> None:
    """NaN, infinity, foreign types and lone surrogates never reach the disk."""
    path = tmp_path / "manifest.json"

    with pytest.raises(CorruptBundle, match="cannot be written as JSON"):
        write_manifest(path, make_manifest(metrics=metrics))

    assert not path.exists()


def test_modalities_come_in_alphabetical_order(make_manifest: MakeManifest) -> None:
    """The order of the encoder's ``present`` columns does not depend on the order of training."""
    assert make_manifest(modalities={"text": 3, "audio": 1, "image": 2}).modality_names == ("audio", "image", "text")


def test_required_files_follow_the_facts(make_manifest: MakeManifest) -> None:
    """One feature file per modality, and history embeddings exactly where there is a history rule."""
    with_history = make_manifest(modalities={"image": 2})
    without = make_manifest(modalities={}, history=None)

    assert with_history.required_files - without.required_files == {"features_image.npy", "history_embeddings.npy"}
    assert "encoder.onnx" in without.required_files


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"no json", b"[]", b"null", b"[" * 100_000, b'{"format_version": 1}', b"9" * 5000]
)
def test_what_is_no_manifest_is_corrupt(tmp_path: Path, data: bytes) -> None:
    """Any bytes that are no manifest give the one error callers expect."""
    path = tmp_path / "manifest.json"
    path.write_bytes(data)

    with pytest.raises(CorruptBundle):
        read_manifest(path)


def test_a_missing_manifest_is_corrupt(tmp_path: Path) -> None:
    """The error names the file that was looked for."""
    with pytest.raises(CorruptBundle, match="unreadable manifest") as caught:
        read_manifest(tmp_path / "manifest.json")

    assert caught.value.path == tmp_path / "manifest.json"


@pytest.mark.parametrize(
    "changes",
    [
        {"d": 0},
        {"d": "2"},
        {"d": True},
        {"n_users": -1},
        {"n_items": 4.0},
        {"n_items": None},
        {"journal_watermark": -1},
        {"created_at": None},
        {"created_at": "yesterday"},
        {"created_at": "2026-01-01T00:00:00"},
        {"model_version": "../v1"},
        {"model_version": ".hidden"},
        {"model_version": ""},
        {"model_version": "v" * 129},
        {"model_version": 1},
        {"modalities": ["image"]},
        {"modalities": {"Image": 2}},
        {"modalities": {"../image": 2}},
        {"modalities": {"image": 0}},
        {"modalities": {"image": None}},
        {"checksums": {"../../etc/passwd": "0"}},
        {"checksums": {"/etc/passwd": "0"}},
        {"checksums": {".lock": "0"}},
        {"checksums": []},
        {"metrics": []},
        {"metrics": {"a": float("inf")}},
        {"training": None},
        {"history": {"alpha": 0.5, "max_items": 0}},
        {"history": {"alpha": "half", "max_items": 5}},
        {"history": {"alpha": 0.5}},
        {"history": {"alpha": 0.5, "max_items": 5, "beta": 1}},
        {"history": 7},
        {"history": {**LEAST_SQUARES, "diagonal": []}},
        {"history": {**LEAST_SQUARES, "diagonal": 1.0}},
        {"history": {**LEAST_SQUARES, "diagonal": None}},
        {"history": {**LEAST_SQUARES, "diagonal": "12"}},
        {"history": {**LEAST_SQUARES, "diagonal": [1.0, 0.0]}},
        {"history": {**LEAST_SQUARES, "diagonal": [1.0, -1.0]}},
        {"history": {**LEAST_SQUARES, "diagonal": [1.0, None]}},
        {"history": {**LEAST_SQUARES, "diagonal": [1.0, float("nan")]}},
        {"history": {**LEAST_SQUARES, "diagonal": [1.0, float("inf")]}},
        {"history": {**LEAST_SQUARES, "ridge": -0.1}},
        {"history": {**LEAST_SQUARES, "ridge": float("nan")}},
        {"history": {**LEAST_SQUARES, "ridge": "0.1"}},
        {"history": {**LEAST_SQUARES, "max_items": 0}},
        {"history": {**LEAST_SQUARES, "max_items": 5.0}},
        {"history": {**LEAST_SQUARES, "alpha": 0.5}},
        {"history": {"diagonal": [1.0, 2.0]}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_malformed_facts_are_corrupt_even_when_sealed(
    bundle_directory: Path, sign: Sign, changes: dict[str, object]
) -> None:
    """A right checksum does not make facts right: types, ranges, names and paths are checked one by one."""
    sign(bundle_directory, **changes)

    with pytest.raises(CorruptBundle):
        read_manifest(bundle_directory / "manifest.json")


@pytest.mark.parametrize("found", [0, 2, "1", None])
def test_another_format_is_incompatible(bundle_directory: Path, sign: Sign, found: object) -> None:
    """A sound manifest of another format is told apart from a damaged one, with both versions as facts."""
    sign(bundle_directory, format_version=found)

    with pytest.raises(IncompatibleBundle) as caught:
        read_manifest(bundle_directory / "manifest.json")

    assert (caught.value.expected, caught.value.found) == (1, found)


@pytest.mark.parametrize(
    "alter",
    [
        lambda text: text.replace('"preset": "test"', '"preset": "best"'),
        lambda text: text + " ",
        lambda text: text.replace("\n", "\r\n"),
        lambda text: json.dumps(json.loads(text)),
    ],
    ids=["fact", "space", "line ends", "layout"],
)
def test_an_altered_manifest_is_corrupt(bundle_directory: Path, alter: Callable[[str], str]) -> None:
    """A change of facts or only of white space is noticed: the file is its own canonical form or nothing."""
    path = bundle_directory / "manifest.json"
    path.write_bytes(alter(path.read_text(encoding="utf-8")).encode())

    with pytest.raises(CorruptBundle, match="altered"):
        read_manifest(path)
