"""Image files as arrays, by Pillow."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 40_000_000


class UnreadableImage(Exception):
    """The bytes are no image that can be read; the message says why."""


def read_image(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """An image file as (height, width, 3) uint8 RGB: upright, scaled to fill that size, what stands over cut off.

    Transparent parts are white; of several frames the first is taken.

    Raises:
        UnreadableImage: it is of another format, damaged, or of more than ``MOST_PIXELS``.
    """
    try:
        # Pillow only warns of images that are large enough to be an attack; their size is checked here.
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise UnreadableImage(f"expected at most {MOST_PIXELS} pixels, found {image.width} x {image.height}")
        upright = ImageOps.exif_transpose(image)
        fitted = ImageOps.fit(_opaque(upright), (width, height), Image.Resampling.BICUBIC)
    except UnidentifiedImageError as exc:
        raise UnreadableImage(f"expected an image of one of the formats {', '.join(FORMATS)}") from exc
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        raise UnreadableImage(f"expected an image that can be read: {exc}") from exc
    return np.asarray(fitted, dtype=np.uint8)


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
