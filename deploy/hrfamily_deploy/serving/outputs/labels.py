"""The label map as PNG."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from hrfamily_deploy.serving.outputs.base import Output, Segmented, pixels, register

_MOST_INDEXED = 256
_COMPRESSION = 1  # label maps are small at any level, and the higher ones take longer than a network's run


def encode(segmented: Segmented) -> bytes:
    """PNG of class numbers: indexed, with the classes' colours, or 16 bits of grey where there are too many."""
    colors = segmented.classes.palette()
    if segmented.label.dtype != np.uint8 or len(colors) > _MOST_INDEXED:
        grey = segmented.label.astype(np.uint16)
        return cv2.imencode(".png", grey, (cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION))[1].tobytes()
    image = Image.fromarray(segmented.label)
    palette = np.zeros((_MOST_INDEXED, 3), np.uint8)  # a whole one, or Pillow takes fewer than 8 bits
    palette[: len(colors)] = colors
    image.putpalette(palette.tobytes())
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=_COMPRESSION)
    return content.getvalue()


register(
    Output(
        name="labels",
        description="PNG of class numbers, with the classes' colours as its palette, or 16 bits of grey above 256 "
        "classes; unsure pixels are 255, or 65535 in 16 bits",
        media_types={"image/png": ".png"},
        encode=encode,
        decode=pixels,
    )
)
