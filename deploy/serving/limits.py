"""How much a request may ask for, checked from a picture's header before anything is decoded."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from serving.refusals import Refusal

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True)
class Limits:
    """Attributes:
    body: bytes of a request's body.
    body_seconds: for it to arrive.
    pixels: of a picture; a batch holds no more than that either, or one picture.
    aspect: the longer side in units of the shorter: a strip that is resized by its short side comes to anything.
    queue: requests in hand for one model, those included that are being run.
    uploads: bodies being received at the same time.
    seconds: for an answer, from the body's last byte.
    """

    body: int = 32 << 20
    body_seconds: float = 10.0
    pixels: int = 1 << 23
    aspect: float = 32.0
    queue: int = 64
    uploads: int = 64
    seconds: float = 30.0


def check(data: bytes, limits: Limits) -> None:
    """Raises Refusal unless this is a picture of a known format and admitted size, as far as its header tells."""
    width, height = _size(data, limits)
    if width * height > limits.pixels:
        message = f"{width}x{height} pixels are more than the {limits.pixels} that are taken"
        raise Refusal(413, "too_many_pixels", message)
    if max(width, height) > limits.aspect * min(width, height):
        message = f"{width}x{height} pixels: the longer side may be {limits.aspect:g} times the shorter one"
        raise Refusal(422, "too_long", message)


def _size(data: bytes, limits: Limits) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except Image.DecompressionBombError:
        raise Refusal(413, "too_many_pixels", f"the picture has more than the {limits.pixels} that are taken") from None
    except Exception:  # whatever Pillow's readers of headers come to with bytes made to mislead them
        raise Refusal(415, "not_a_picture", f"these {len(data)} bytes are none of {', '.join(FORMATS)}") from None
