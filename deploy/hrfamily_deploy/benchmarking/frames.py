"""The images to time with, as the contents of files: real ones, or random ones with shapes and grain."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hrfamily_deploy.imaging import image_files
from hrfamily_deploy.runtime.options import Size

_JPEG_QUALITY = 95
_SHAPE = 32  # pixels
_GRAIN = 8


def real(source: Path, most: int) -> list[bytes]:
    """At most that many of the images there, evenly spaced.

    Raises:
        UserError: no image there, or one that is damaged.
    """
    paths = [each.path for each in image_files.evenly(image_files.find(source), most)]
    for path in paths:
        image_files.decode(path, 3)
    return [path.read_bytes() for path in paths]


def random(size: Size, count: int) -> list[bytes]:
    """JPEG files of that size, the same ones every time."""
    generator = np.random.default_rng(0)
    return [_random(size, generator) for _ in range(count)]


def at_size(data: bytes, size: Size) -> bytes:
    """That image at that size: as it is if it has it, else resized and written in its format again."""
    image = image_files.decode(data, 3)
    if image.shape[:2] == size:
        return data
    way = cv2.INTER_AREA if image.shape[0] > size[0] else cv2.INTER_LINEAR
    return _file(cv2.resize(image, size[::-1], interpolation=way), ".jpg" if data.startswith(b"\xff\xd8") else ".png")


def size_of(data: bytes) -> Size:
    height, width = image_files.decode(data, 3).shape[:2]
    return height, width


def _random(size: Size, generator: np.random.Generator) -> bytes:
    height, width = size
    shapes = generator.integers(0, 256, (height // _SHAPE + 2, width // _SHAPE + 2, 3)).astype(np.float32)
    grain = generator.normal(0, _GRAIN, (height, width, 3))
    return _file((cv2.resize(shapes, (width, height)) + grain).clip(0, 255).astype(np.uint8), ".jpg")


def _file(image: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, image[:, :, ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))[1].tobytes()
