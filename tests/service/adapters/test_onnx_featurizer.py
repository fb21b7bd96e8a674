"""Featurizers of texts and images, and image files as arrays."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from service.adapters import images
from service.adapters.images import UnreadableImage, read_image
from service.adapters.onnx_featurizer import OnnxFeaturizer
from service.domain import Image, Text
from service.errors import EncodingFailed, InvalidItem, ModelUnavailable

Make = Callable[..., bytes]


def file_of(image: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def plain(colour: Any, size: tuple[int, int] = (8, 4), mode: str = "RGB") -> Pillow.Image:
    """An image of one colour."""
    return Pillow.new(mode, size, colour)


@pytest.fixture
def featurizer(tmp_path: Path, text_model: Make, image_model: Make) -> OnnxFeaturizer:
    """One of texts (d 4) and one of images of 2 x 4 pixels (d 3)."""
    (tmp_path / "text.onnx").write_bytes(text_model({"hello": 1.0, "wörld": -2.5}))
    (tmp_path / "image.onnx").write_bytes(image_model())
    paths = {name: tmp_path / f"{name}.onnx" for name in ("text", "image")}
    return OnnxFeaturizer(paths, {"text": 4, "image": 3}, threads=1)


@pytest.mark.parametrize(("text", "number"), [("hello", 1.0), ("wörld", -2.5), ("", 0.0), ("🎉\n" * 1000, 0.0)])
def test_texts_become_features(featurizer: OnnxFeaturizer, text: str, number: float) -> None:
    """As the model says, float32."""
    vector = featurizer.features("text", Text(text))
    assert (vector.dtype, vector.tolist()) == (np.float32, [number] * 4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_images_become_features(featurizer: OnnxFeaturizer, kind: str) -> None:
    """Whatever their format and size."""
    vector = featurizer.features("image", Image(file_of(plain((250, 100, 0), (31, 17)), kind)))
    np.testing.assert_allclose(vector, [250, 100, 0], atol=3)


def test_other_kinds_are_refused(featurizer: OnnxFeaturizer) -> None:
    """An image is no text, and a text no image; the place is named."""
    with pytest.raises(InvalidItem, match="expected text, or 4 numbers, found image") as refused:
        featurizer.features("text", Image(b""))
    assert refused.value.pointer == "/modalities/text"
    with pytest.raises(InvalidItem, match="expected image, or 3 numbers, found text"):
        featurizer.features("image", Text(""))


def test_failing_models_are_told_from_bad_items(tmp_path: Path, text_model: Make) -> None:
    """What is not finite, or of another width than the modality, is the model's fault."""
    path = tmp_path / "text.onnx"
    path.write_bytes(text_model({"nan": float("nan")}))
    with pytest.raises(EncodingFailed, match="finite"):
        OnnxFeaturizer({"text": path}, {"text": 4}, threads=1).features("text", Text("nan"))
    with pytest.raises(EncodingFailed, match=r"\(1, 7\)"):
        OnnxFeaturizer({"text": path}, {"text": 7}, threads=1).features("text", Text("x"))


def test_files_that_are_no_featurizers_are_refused(tmp_path: Path, image_model: Make) -> None:
    """Damaged files, and models with other inputs."""
    path = tmp_path / "featurizer.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelUnavailable, match=r"featurizer\.onnx"):
        OnnxFeaturizer({"text": path}, {"text": 4}, threads=1)
    path.write_bytes(image_model(height="h"))
    with pytest.raises(ModelUnavailable, match="fixed size"):
        OnnxFeaturizer({"image": path}, {"image": 3}, threads=1)


def test_images_are_fitted() -> None:
    """The shorter side fills the size, and of the longer one the middle is kept."""
    wide = Pillow.new("RGB", (300, 100), (255, 0, 0))
    wide.paste((0, 0, 255), (100, 0, 200, 100))
    array = read_image(file_of(wide), 10, 10)
    assert (array.shape, array.dtype) == ((10, 10, 3), np.uint8)
    assert (array[1:-1, 1:-1] == [0, 0, 255]).all()  # at the edges the neighbours shine through


def test_images_stand_upright() -> None:
    """A picture that was taken with the camera turned is turned back."""
    exif = Pillow.Exif()
    exif[0x0112] = 3  # upside down
    image = plain((0, 0, 0), (4, 4))
    image.paste((255, 255, 255), (0, 0, 4, 2))
    array = read_image(file_of(image, "PNG", exif=exif), 4, 4)
    assert array[0].max() < 50
    assert array[-1].min() > 200


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (plain((10, 20, 30, 0), mode="RGBA"), [255, 255, 255]),
        (plain((10, 20, 30, 255), mode="RGBA"), [10, 20, 30]),
        (plain(100, mode="L"), [100, 100, 100]),
        (plain(1, mode="1"), [255, 255, 255]),
        (plain(7, mode="P"), None),
        (plain((0, 0, 0, 0), mode="CMYK"), [255, 255, 255]),
        (plain(40_000, mode="I;16"), None),
    ],
    ids=["transparent", "opaque", "grey", "bits", "palette", "print", "deep"],
)
def test_every_mode_becomes_rgb(image: Pillow.Image, found: list[int] | None) -> None:
    """What shines through is white."""
    array = read_image(file_of(image, "JPEG" if image.mode == "CMYK" else "PNG"), 2, 2)
    assert array.shape == (2, 2, 3)
    if found:
        np.testing.assert_allclose(array[0, 0], found, atol=2)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "gif", "svg"])
def test_what_is_no_image_is_refused(damage: str) -> None:
    """With a reason; formats that are not asked for are not tried."""
    noise = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    whole = file_of(noise)
    data = {
        "empty": b"",
        "text": b"hello",
        "cut": whole[: len(whole) // 2],
        "gif": file_of(noise, "GIF"),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }[damage]
    with pytest.raises(UnreadableImage, match="expected an image"):
        read_image(data, 2, 2)


def test_images_that_would_fill_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the size they announce, before they are unpacked."""
    monkeypatch.setattr(images, "MOST_PIXELS", 100)
    with pytest.raises(UnreadableImage, match="at most 100 pixels, found 11 x 10"):
        read_image(file_of(plain("red", (11, 10))), 2, 2)
    read_image(file_of(plain("red", (10, 10))), 2, 2)
    bomb = file_of(plain(0, (20_000, 20_000), mode="1"))
    monkeypatch.undo()
    with pytest.raises(UnreadableImage):
        read_image(bomb, 2, 2)
