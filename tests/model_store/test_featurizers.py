"""Featurizers in bundles: named in the manifest where there are any, checked like every other file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from model_store import BundleContents, CorruptBundle, Manifest, ModelStore, load_bundle, write_bundle
from model_store.manifest import read_manifest

MakeManifest = Callable[..., Manifest]
Sign = Callable[..., None]
KINDS = {"image": "image", "text": "text"}
MODELS = {"image": b"an image model", "text": b"a text model"}


@pytest.fixture
def directory(tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest) -> Path:
    """A sound bundle with two featurizers."""
    target = tmp_path / "featurized"
    target.mkdir()
    write_bundle(target, contents, b"an encoder", make_manifest(featurizers=KINDS), MODELS)
    return target


def test_featurizers_come_back_as_they_were_written(directory: Path) -> None:
    """Kinds, bytes and paths survive the round trip, and each file has its checksum."""
    bundle = load_bundle(directory)

    assert bundle.manifest.featurizers == KINDS
    assert {name: bundle.featurizer_path(name).read_bytes() for name in KINDS} == MODELS
    assert bundle.featurizer_path("text") == directory / "featurizer_text.onnx"
    assert {"featurizer_image.onnx", "featurizer_text.onnx"} <= bundle.manifest.checksums.keys()
    assert {"featurizer_image.onnx", "featurizer_text.onnx"} <= bundle.manifest.required_files


def test_modality_without_a_featurizer_has_no_path(bundle_directory: Path) -> None:
    """A path that leads nowhere is never given."""
    bundle = load_bundle(bundle_directory)

    with pytest.raises(KeyError, match="text"):
        bundle.featurizer_path("text")


def test_manifest_without_featurizers_is_that_of_before(bundle_directory: Path, make_manifest: MakeManifest) -> None:
    """The field is written only where there is something to say, so that older bundles keep their canonical form."""
    assert "featurizers" not in json.loads(make_manifest().to_json())
    assert "featurizers" in json.loads(make_manifest(featurizers={"text": "text"}).to_json())
    assert read_manifest(bundle_directory / "manifest.json").featurizers == {}


def test_store_publishes_featurizers(store: ModelStore, contents: BundleContents, make_manifest: MakeManifest) -> None:
    """A published version has them like a bundle outside a store."""
    store.publish(contents, b"an encoder", make_manifest(featurizers={"text": "text"}), {"text": b"a model"})

    assert store.load("v1").featurizer_path("text").read_bytes() == b"a model"


@pytest.mark.parametrize("models", [None, {}, {"text": b""}, MODELS | {"audio": b""}], ids=str)
def test_featurizers_other_than_those_named_are_not_written(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest, models: dict[str, bytes] | None
) -> None:
    """What the manifest says and what is given must be the same modalities; otherwise no file is written."""
    with pytest.raises(CorruptBundle, match=r"expected featurizers of \['image', 'text'\]"):
        write_bundle(tmp_path, contents, b"", make_manifest(featurizers=KINDS), models)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kinds", [{"audio": "text"}, {"text": "video"}])
def test_featurizers_that_no_bundle_has_are_not_written(
    tmp_path: Path, contents: BundleContents, make_manifest: MakeManifest, kinds: dict[str, str]
) -> None:
    """A foreign modality or kind is refused before a file is written."""
    with pytest.raises(CorruptBundle, match="featurizers"):
        write_bundle(tmp_path, contents, b"", make_manifest(featurizers=kinds), dict.fromkeys(kinds, b""))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "altered"),
        ([], "expected an object"),
        (None, "expected an object"),
        ({"audio": "text"}, r"expected some of \['image', 'text'\], found 'audio'"),
        ({"text": "video"}, "featurizers.text: expected 'image' or 'text', found 'video'"),
        ({"text": ["text"]}, "expected 'image' or 'text', found"),
    ],
    ids=str,
)
def test_malformed_featurizers_are_corrupt_even_when_sealed(
    directory: Path, sign: Sign, found: object, message: str
) -> None:
    """A right checksum does not make them right; an empty object is not the canonical way to say none."""
    sign(directory, featurizers=found)

    with pytest.raises(CorruptBundle, match=message):
        read_manifest(directory / "manifest.json")


def test_featurizer_without_checksum_is_refused(directory: Path, sign: Sign) -> None:
    """A file that the manifest names and does not vouch for is not read."""
    data = (directory / "featurizer_text.onnx").read_bytes()
    (directory / "featurizer_text.onnx").unlink()
    sign(directory)
    (directory / "featurizer_text.onnx").write_bytes(data)

    with pytest.raises(CorruptBundle, match=r"lists no featurizer_text\.onnx"):
        load_bundle(directory)


@pytest.mark.parametrize("verify", [True, False])
def test_missing_featurizer_is_detected(directory: Path, *, verify: bool) -> None:
    """It is looked for whether or not bytes are compared."""
    (directory / "featurizer_image.onnx").unlink()

    with pytest.raises(CorruptBundle, match="missing"):
        load_bundle(directory, verify=verify)


def test_changed_featurizer_is_detected(directory: Path) -> None:
    """One other byte and the bundle is refused."""
    (directory / "featurizer_image.onnx").write_bytes(b"an image motel")

    with pytest.raises(CorruptBundle, match="found other contents"):
        load_bundle(directory)
