"""A label map as the content of a response."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping

import cv2
import drawing
import numpy as np
from PIL import Image

from serving.engine import Description

_MOST_INDEXED = 256
_QUICK = 1  # level of compression: label maps are small at any, and the higher ones take longer than a network's run
_JPEG_QUALITY = 92
_RUNS_AT_A_TIME = 1 << 16


def labels(label: np.ndarray, model: Description) -> bytes:
    """PNG of class numbers: indexed, with the classes' colours, or 16 bits of grey where there are too many."""
    if len(model.class_names) > _MOST_INDEXED:
        return _encoded(".png", label.astype(np.uint16), cv2.IMWRITE_PNG_COMPRESSION, _QUICK)
    image = Image.fromarray(label)
    palette = np.zeros((_MOST_INDEXED, 3), np.uint8)  # a whole one, or Pillow takes fewer than 8 bits
    palette[: len(model.class_colors)] = model.class_colors
    image.putpalette(palette.tobytes())
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=_QUICK)
    return content.getvalue()


def overlay(image: np.ndarray, label: np.ndarray, model: Description, opacity: float, media_type: str) -> bytes:
    """The picture under its classes' colours. They are drawn into the array given."""
    drawn = cv2.cvtColor(drawing.overlay(image, label, model.class_colors, opacity), cv2.COLOR_RGB2BGR)
    if media_type == "image/png":
        return _encoded(".png", drawn, cv2.IMWRITE_PNG_COMPRESSION, _QUICK)
    return _encoded(".jpg", drawn, cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)


def summary(label: np.ndarray, model: Description, milliseconds: Mapping[str, float]) -> bytes:
    """JSON of sizes, classes with their shares, and the map as runs of one class, row after row."""
    share = drawing.shares(label, len(model.class_names))
    classes = [
        {"id": index, "name": name, "color": list(color), "share": round(float(part), 6)}
        for index, (name, color, part) in enumerate(zip(model.class_names, model.class_colors, share))
    ]
    head = {"model": model.name, "height": label.shape[0], "width": label.shape[1], "classes": classes}
    tail = {"milliseconds": {stage: round(value, 3) for stage, value in milliseconds.items()}}
    runs = ",".join(_runs(label.ravel()))
    return f'{json.dumps(head)[:-1]}, "runs": [{runs}], {json.dumps(tail)[1:]}'.encode()


def _runs(flat: np.ndarray) -> Iterator[str]:
    """Text of many runs at a time: as lists of Python's they would take a hundred bytes each."""
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)
    for first in range(0, len(ends), _RUNS_AT_A_TIME):
        part = ends[first : first + _RUNS_AT_A_TIME]
        lengths = np.diff(part, prepend=ends[first - 1] if first else -1)
        pairs = np.stack([flat[part].astype(np.int64), lengths], axis=1).tolist()
        yield json.dumps(pairs, separators=(",", ":"))[1:-1]


def _encoded(suffix: str, pixels: np.ndarray, *parameters: int) -> bytes:
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()
