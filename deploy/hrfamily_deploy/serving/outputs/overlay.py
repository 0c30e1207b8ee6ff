"""The image under its classes' colours."""

from __future__ import annotations

import cv2

from hrfamily_deploy.imaging import drawing
from hrfamily_deploy.serving.outputs.base import Output, Segmented, pixels, register

_COMPRESSION = 1
_JPEG_QUALITY = 92


def encode(segmented: Segmented) -> bytes:
    """JPEG or PNG, as the request says. The colours are drawn into the request's image."""
    if segmented.image is None:
        raise ValueError("an overlay needs the image")
    request, classes = segmented.request, segmented.classes
    drawn = drawing.overlay(segmented.image, classes.numbered(segmented.label), classes.shown.colors, request.opacity)
    drawn = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
    if request.media_type == "image/png":
        return cv2.imencode(".png", drawn, (cv2.IMWRITE_PNG_COMPRESSION, _COMPRESSION))[1].tobytes()
    return cv2.imencode(".jpg", drawn, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes()


register(
    Output(
        name="overlay",
        description="JPEG, or PNG where Accept names that alone",
        media_types={"image/jpeg": ".jpg", "image/png": ".png"},
        encode=encode,
        decode=pixels,
        lossless="image/png",
        needs_image=True,
    )
)
