"""How much a request may ask for. The header of an image tells its size before anything is decoded."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from hrfamily_deploy.imaging import tiff_header
from hrfamily_deploy.serving.refusals import Refusal

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True)
class Limits:
    """Attributes:
    body: bytes of a request's body, at most.
    body_seconds: in which the body must arrive.
    pixels: of an image, at most; a batch of several images has no more either.
    aspect: the longer side divided by the shorter one, at most. (A transform that resizes by the shorter side would
        make a very large image of a long strip.)
    queue: requests that are in hand for one model, at most; those that are being run count.
    uploads: bodies that are being received at the same time, at most.
    seconds: in which a request must be answered, from the last byte of its body.
    """

    body: int = 32 << 20
    body_seconds: float = 10.0
    pixels: int = 1 << 23
    aspect: float = 32.0
    queue: int = 64
    uploads: int = 64
    seconds: float = 30.0


def check(data: bytes, limits: Limits) -> None:
    """Raises Refusal unless the header is that of an image of a known format, within the limits of its size."""
    width, height = _size(data, limits)
    if width * height > limits.pixels:
        message = f"{width}x{height} pixels are more than the {limits.pixels} that are taken"
        raise Refusal(413, "too_many_pixels", message)
    if max(width, height) > limits.aspect * min(width, height):
        message = f"{width}x{height} pixels: the longer side may be {limits.aspect:g} times the shorter one"
        raise Refusal(422, "too_long", message)


def _size(data: bytes, limits: Limits) -> tuple[int, int]:
    header = tiff_header.read(io.BytesIO(data))  # Pillow knows no TIFF of several bands
    if header is not None:
        return header.width, header.height
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except Image.DecompressionBombError:
        raise Refusal(413, "too_many_pixels", f"the image has more than the {limits.pixels} that are taken") from None
    except Exception:  # whatever Pillow's readers of headers come to with bytes made to mislead them
        raise Refusal(415, "not_a_picture", f"these {len(data)} bytes are none of {', '.join(FORMATS)}") from None
