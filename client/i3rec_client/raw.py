"""What features are made of: raw texts and images, for models that make features of them themselves."""

import base64
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Text:
    """A text in place of a vector."""

    text: str

    def content(self) -> dict[str, str]:
        """As it is sent.

        Raises:
            TypeError: it is no text.
        """
        if not isinstance(self.text, str):
            raise TypeError(f"expected a text, found {type(self.text).__name__}")
        return {"text": self.text}


@dataclass(frozen=True, slots=True)
class Image:
    """The bytes of an image file in place of a vector."""

    data: bytes = field(repr=False)

    def content(self) -> dict[str, str]:
        """As it is sent.

        Raises:
            TypeError: it is not given as bytes.
        """
        if not isinstance(self.data, (bytes, bytearray, memoryview)):
            raise TypeError(f"expected the bytes of an image, found {type(self.data).__name__}")
        return {"image_b64": base64.b64encode(self.data).decode("ascii")}
