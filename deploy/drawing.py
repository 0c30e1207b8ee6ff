"""Label maps in colour over their pictures, with a legend. Pictures are (H, W, 3) RGB uint8."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from exported import Color
from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_LEAST_WIDTH = 256  # of a picture with a legend; text needs that much
_MOST_ENTRIES = 32
_STRIP = 512  # rows at a time


def overlay(image: np.ndarray, label: np.ndarray, colors: Sequence[Color], opacity: float) -> np.ndarray:
    """The picture, (H, W, 3) or grey (H, W), under its classes' colours; as it was where a label has none.

    Colours are drawn into the picture given: of a very large one there is no room for a copy.
    """
    picture = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
    lookup = np.array(colors, np.uint8)
    for top in range(0, len(picture), _STRIP):
        rows, part = picture[top : top + _STRIP], label[top : top + _STRIP]
        known = part < len(lookup)
        blended = cv2.addWeighted(rows, 1 - opacity, lookup[np.where(known, part, 0)], opacity, 0)
        np.copyto(rows, blended, where=known[..., None])
    return picture


def shares(label: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) share of the labelled pixels that each class has, 0..1."""
    counts = np.zeros(classes, np.int64)
    for top in range(0, len(label), _STRIP):  # numpy counts a copy of 8 bytes a pixel
        counts += np.bincount(label[top : top + _STRIP].ravel(), minlength=classes)[:classes]
    return counts / max(1, counts.sum())


def with_legend(
    picture: np.ndarray, names: Sequence[str], colors: Sequence[Color], share: Sequence[float] | None = None
) -> np.ndarray:
    """The picture with a legend below it, at most 32 classes; one too narrow for text is magnified by a whole number.

    With `share`, one number of 0..1 per class, only classes that occur are named, the greatest first, with their
    per cent.
    """
    factor = -(-_LEAST_WIDTH // picture.shape[1])
    picture = picture.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else picture
    if share is None:
        entries = list(zip(colors, names))
    else:
        occurring = [index for index in np.argsort(share)[::-1] if share[index] > 0]
        entries = [(colors[index], f"{names[index]} {per_cent(share[index])}") for index in occurring]
    if len(entries) > _MOST_ENTRIES:
        entries = [*entries[:_MOST_ENTRIES], (None, f"and {len(entries) - _MOST_ENTRIES} more")]
    return np.vstack([picture, _strip(entries, picture.shape[1])])


def per_cent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def _strip(entries: list[tuple[Color | None, str]], width: int) -> np.ndarray:
    size = min(48, max(12, width // 64))
    font, pad, line = ImageFont.load_default(size), size // 2, int(size * 1.6)
    x, y, places = pad, pad // 2, []
    for color, text in entries:
        length = (size + pad if color else 0) + int(font.getlength(text))
        if x > pad and x + length + pad > width:
            x, y = pad, y + line
        places.append((x, y + line // 2, color, text))
        x += length + 2 * pad
    strip = Image.new("RGB", (width, y + line + pad // 2), _PAPER)
    canvas = ImageDraw.Draw(strip)
    for x, middle, color, text in places:
        if color:
            canvas.rectangle((x, middle - size // 2, x + size, middle + size // 2), color, _INK)
            x += size + pad
        canvas.text((x, middle), text, _INK, font, anchor="lm")
    return np.array(strip)
