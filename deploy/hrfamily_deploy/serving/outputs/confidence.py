"""How sure the network is of each pixel."""

from __future__ import annotations

import cv2
import numpy as np

from hrfamily_deploy.imaging import confidence
from hrfamily_deploy.serving.outputs.base import Output, Segmented, pixels, register

_COMPRESSION = 1


def encode(segmented: Segmented) -> bytes:
    """PNG of 16 bits of grey."""
    if segmented.confidence is None:
        raise ValueError("an answer of confidence needs it")
    grey = confidence.to_file(segmented.confidence)
    return cv2.imencode(".png", grey, (cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION))[1].tobytes()


def decode(content: bytes) -> np.ndarray:
    """(H, W) float32 of 0..1."""
    return confidence.from_file(pixels(content))


register(
    Output(
        name="confidence",
        description="PNG of 16 bits of grey, in which 65535 is a maximum probability (or an entropy) of 1",
        media_types={"image/png": ".png"},
        encode=encode,
        decode=decode,
        needs_confidence=True,
    )
)
