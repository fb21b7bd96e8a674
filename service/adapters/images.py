"""Image files as arrays, by Pillow: one after the other, on one thread, and each in little memory."""

import io
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 25_000_000
MOST_PIXELS_OF_WEBP = MOST_PIXELS // 2  # its decoder takes four times as much for each
MOST_TO_A_SIDE = 65_535  # each row takes something, however short it is
MOST_SCANS = 50  # of a JPEG: ten are usual, and each, of some forty bytes, may take as long as all pixels do
_MOST_UNREDUCED = 16_000_000  # pixels of a JPEG; of fewer, the features must be those of training to the bit
_DETAIL = 4  # times the size that is asked for: so much is left of a larger one
_SCAN = b"\xff\xda"
_TILE = 1024  # pixels to a side
# One of the process, as its memory is: forty bytes may unpack to two hundred megabytes. A lock would not do, as the C
# library keeps for each thread what that has freed.
_reader = ThreadPoolExecutor(1, "images")


class UnreadableImage(Exception):
    """The bytes are no image that can be read; the message says why."""


def read_image(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """An image file as (height, width, 3) uint8 RGB: upright, scaled to fill that size, what stands over cut off.

    Transparent parts are white; of several frames the first is taken. However many threads ask, images are unpacked one
    after the other, which takes up to some 300 MB where they are as large as may be.

    Raises:
        UnreadableImage: it is of another format, damaged, or beyond the bounds above.
    """
    found = _reader.submit(_array_or_reason, data, height, width).result()
    if isinstance(found, str):
        raise UnreadableImage(found)
    return found


def _array_or_reason(data: bytes, height: int, width: int) -> NDArray[np.uint8] | str:
    """The image, or why there is none; an error would keep its pixels, in frames it came through, as long as itself."""
    try:
        image = _opaque(_upright(data, _DETAIL * max(height, width)))
        return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC), dtype=np.uint8)
    except UnreadableImage as exc:
        return str(exc)
    except UnidentifiedImageError:
        return f"expected an image of one of the formats {', '.join(FORMATS)}"
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as exc:
        return f"expected an image that can be read: {exc}"


def _upright(data: bytes, least: int) -> Image.Image:
    """An image in its own mode; a large JPEG is reduced while it is unpacked, to no fewer than ``least`` to a side."""
    # Pillow only warns of images that are large enough to be an attack; their size is checked here.
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    _check(image, data)
    if image.width * image.height > _MOST_UNREDUCED:
        image.draft(None, (least, least))  # which only JPEGs can
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _check(image: Image.Image, data: bytes) -> None:
    """Checks what an image announces of itself, before it is unpacked."""
    most = MOST_PIXELS_OF_WEBP if image.format == "WEBP" else MOST_PIXELS
    if image.width * image.height > most:
        raise UnreadableImage(f"expected at most {most} pixels, found {image.width} x {image.height}")
    if max(image.size) > MOST_TO_A_SIDE:
        raise UnreadableImage(f"expected at most {MOST_TO_A_SIDE} to a side, found {image.width} x {image.height}")
    if image.format not in {"PNG", "WEBP"} and (scans := data.count(_SCAN)) > MOST_SCANS:
        raise UnreadableImage(f"expected at most {MOST_SCANS} scans, found {scans}")


def _opaque(image: Image.Image) -> Image.Image:
    """An image in RGB, on white where it is transparent: tile by tile, as that takes four copies."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    opaque = Image.new("RGB", image.size)
    for left in range(0, image.width, _TILE):
        for top in range(0, image.height, _TILE):
            box = (left, top, min(left + _TILE, image.width), min(top + _TILE, image.height))
            layers = image.crop(box).convert("RGBA")
            tile = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
            opaque.paste(tile.convert("RGB"), box)
    return opaque
