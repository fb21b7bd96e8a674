"""Images: in little memory, whatever comes, and to the bit as Pillow's own steps make them."""

import io
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from service.adapters import images
from service.adapters.images import UnreadableImage, read_image

ORIENTATION, DESCRIPTION = 0x0112, 0x010E
MIB_AT_MOST = 320

READ_TOGETHER = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from service.adapters.images import read_image
small, *files = [Path(name).read_bytes() for name in sys.argv[1:]]
read_image(small, 224, 224)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(len(files)) as threads:
    list(threads.map(lambda data: read_image(data, 224, 224), files))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def file_of(image: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file."""
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def picture(mode: str, width: int, height: int) -> Pillow.Image:
    """Blurred noise, transparent in parts where the mode can be."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 3, width // 3, 4), np.uint8)
    image = Pillow.fromarray(noise, "RGBA").resize((width, height), Pillow.Resampling.BILINEAR)
    return image.convert("RGB").quantize(64) if mode == "P" else image.convert(mode)


def turned(orientation: int) -> Pillow.Exif:
    """The EXIF of a picture that was taken with the camera held so."""
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    return exif


def as_a_whole(data: bytes, size: int) -> np.ndarray:
    """What the picture is to become, by copies of all of it."""
    image = ImageOps.exif_transpose(Pillow.open(io.BytesIO(data)))
    layers = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB").convert("RGBA")
    white = Pillow.alpha_composite(Pillow.new("RGBA", layers.size, "white"), layers).convert("RGB")
    return np.asarray(ImageOps.fit(white, (size, size), Pillow.Resampling.BICUBIC))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of memory is counted in other units")
def test_largest_images_take_little_memory_together(tmp_path: Path) -> None:
    """A few bytes that are as large an image as may be, transparent and turned, take it one after the other."""
    small, many, few = (Pillow.new("RGBA", size, (9, 8, 7, 99)) for size in ((8, 8), (6250, 4000), (5000, 2500)))
    files = {
        "small": file_of(small),
        "png": file_of(many, "PNG", exif=turned(6), compress_level=1),
        "webp": file_of(few, "WEBP", lossless=True, method=0, exif=turned(6)),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    read = [sys.executable, "-c", READ_TOGETHER, *(str(tmp_path / name) for name in files)]
    mib = int(subprocess.run(read, check=True, capture_output=True, text=True).stdout)

    assert len(files["webp"]) < 100
    assert mib <= MIB_AT_MOST


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_errors_keep_no_pixels(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A batch collects them: what was unpacked before an image turned out to be cut off is let go."""
    opened: list[weakref.ref[Pillow.Image]] = []

    def watched(*request: Any, **options: Any) -> Pillow.Image:
        image = really_open(*request, **options)
        opened.append(weakref.ref(image))
        return image

    really_open = Pillow.open
    monkeypatch.setattr(images.Image, "open", watched)
    data = file_of(picture("RGB", 99, 99), kind)

    with pytest.raises(UnreadableImage) as refused:
        read_image(data[: len(data) // 2], 2, 2)

    assert refused.value.__context__ is None
    assert [image() for image in opened] == [None] * len(opened)
    assert opened or kind == "WEBP"  # which is not even opened


def test_images_are_unpacked_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads ask for it."""
    inside: list[object] = []
    together, fit = [], ImageOps.fit

    def slowly(*request: Any) -> Any:
        inside.append(request)
        together.append(len(inside))
        time.sleep(0.005)  # room for others to come in
        inside.pop()
        return fit(*request)

    monkeypatch.setattr(images.ImageOps, "fit", slowly)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda data: read_image(data, 2, 2), [file_of(picture("RGB", 9, 9))] * 16))

    assert together == [1] * 16


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGB", "JPEG", {}),
        ("CMYK", "JPEG", {"progressive": True}),
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": bytes(range(0, 256, 4))}),
        ("RGB", "PNG", {"transparency": (1, 2, 3)}),
        ("RGBA", "WEBP", {}),
    ],
)
def test_images_become_the_same_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, mode: str, kind: str, options: dict[str, Any], orientation: int
) -> None:
    """In tiles as a whole: the features of new items are those that the model was trained on."""
    data = file_of(picture(mode, 301, 202), kind, exif=turned(orientation), **options)
    monkeypatch.setattr(images, "_TILE", 64, raising=False)

    np.testing.assert_array_equal(read_image(data, 32, 32), as_a_whole(data, 32))


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["plain", "progressive"])
def test_large_jpegs_are_reduced_while_they_are_unpacked(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Which makes next to no difference, as much more is left of them than is asked for."""
    data = file_of(picture("RGB", 640, 480), "JPEG", exif=turned(6), **options)
    unpacked: list[tuple[int, int]] = []
    monkeypatch.setattr(images, "_MOST_UNREDUCED", 640 * 480 - 1)
    fit = ImageOps.fit
    monkeypatch.setattr(images.ImageOps, "fit", lambda image, *rest: unpacked.append(image.size) or fit(image, *rest))

    array = read_image(data, 25, 25)

    assert unpacked == [(480 // 4, 640 // 4)]  # by 8 there would be 60 x 80, less than four times 25
    np.testing.assert_allclose(array.astype(int), as_a_whole(data, 25).astype(int), atol=4)


def test_webp_may_have_half_as_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder takes so much more for each."""
    monkeypatch.setattr(images, "MOST_PIXELS_OF_WEBP", 50, raising=False)

    read_image(file_of(Pillow.new("RGB", (10, 5)), "WEBP"), 2, 2)
    with pytest.raises(UnreadableImage, match="at most 50 pixels, found 10 x 6"):
        read_image(file_of(Pillow.new("RGB", (10, 6)), "WEBP"), 2, 2)
    read_image(file_of(Pillow.new("RGB", (10, 6)), "PNG"), 2, 2)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 65_536)])
def test_images_as_thin_as_threads_are_refused(size: tuple[int, int]) -> None:
    """Their rows take more than their pixels."""
    with pytest.raises(UnreadableImage, match="at most 65535 to a side"):
        read_image(file_of(Pillow.new("L", size)), 2, 2)


def test_jpegs_of_endless_scans_are_refused() -> None:
    """Each of forty bytes would take as long as reading all pixels; the scans that are usual are no obstacle."""
    data = file_of(picture("RGB", 64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")

    read_image(data, 2, 2)
    with pytest.raises(UnreadableImage, match=r"at most 50 scans, found \d+"):
        read_image(data[:last] + data[last:-2] * 50 + data[-2:], 2, 2)


def test_images_of_damaged_exif_are_unreadable() -> None:
    """Where Pillow stumbles over a field of another type, which is the file's fault."""
    exif = turned(6)
    exif[DESCRIPTION] = "a text"
    data = file_of(picture("RGB", 9, 9), "JPEG", exif=exif)
    field = b"\x01\x0e\x00\x02"
    assert field in data

    with pytest.raises(UnreadableImage, match="expected an image that can be read"):
        read_image(data.replace(field, b"\x01\x01\x00\x02"), 2, 2)  # a text where the height should be
