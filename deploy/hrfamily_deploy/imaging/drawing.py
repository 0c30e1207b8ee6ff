"""Label maps in colour over their images, with a legend. Images are (H, W, 3) RGB uint8, labels (H, W) from 0 up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hrfamily_deploy.colors import Color

PAPER, INK = (255, 255, 255), (20, 20, 20)

_LEAST_WIDTH = 256  # of an image with text beside; narrower ones are magnified
_MOST_ENTRIES = 32
_STRIP = 512  # rows at a time
_Entry = tuple[Optional[Color], str]


def overlay(image: np.ndarray, label: np.ndarray, colors: Sequence[Color], opacity: float) -> np.ndarray:
    """The image, (H, W, 3) or grey (H, W), under its classes' colours; as it was where a label has none.

    Colours are drawn into the image given: of a very large one there is no room for a copy.

    Args:
        opacity: of the colours, 0..1.
    """
    drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
    lookup = np.array(colors, np.uint8)
    for top in range(0, len(drawn), _STRIP):
        rows, part = drawn[top : top + _STRIP], label[top : top + _STRIP]
        known = part < len(lookup)
        blended = cv2.addWeighted(rows, 1 - opacity, lookup[np.where(known, part, 0)], opacity, 0)
        np.copyto(rows, blended, where=known[..., None])
    return drawn


def shares(label: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) share of the labelled pixels that each class has, 0..1."""
    counts = np.zeros(classes, np.int64)
    for top in range(0, len(label), _STRIP):  # numpy counts a copy of 8 bytes a pixel
        counts += np.bincount(label[top : top + _STRIP].ravel(), minlength=classes)[:classes]
    return counts / max(1, counts.sum())


def with_legend(
    image: np.ndarray, names: Sequence[str], colors: Sequence[Color], share: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """The image with a legend below it, as `legend` makes it; one too narrow for text is magnified first."""
    image = magnified(image)
    return np.vstack([image, legend(names, colors, image.shape[1], share)])


def legend(
    names: Sequence[str], colors: Sequence[Color], width: int, share: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """A strip (height, width, 3) of swatches and names, wrapped to the width in pixels.

    With `share`, one number of 0..1 per class, only classes that occur are named, the greatest first, with their
    per cent. At most 32 entries are shown; a last one tells how many are left out.
    """
    entries: list[_Entry] = list(zip(colors, names))
    if share is not None:
        occurring = [index for index in np.argsort(share)[::-1] if share[index] > 0]
        entries = [(colors[index], f"{names[index]} {per_cent(share[index])}") for index in occurring]
    if len(entries) > _MOST_ENTRIES:
        entries = [*entries[:_MOST_ENTRIES], (None, f"and {len(entries) - _MOST_ENTRIES} more")]
    return _strip(entries, width)


def per_cent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def magnified(image: np.ndarray) -> np.ndarray:
    """The image, enlarged by a whole number where it is too narrow for text beside it."""
    factor = -(-_LEAST_WIDTH // image.shape[1])
    return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image


def font_of(width: int) -> ImageFont.FreeTypeFont:
    """The font for an image of that width in pixels; its `size` is the height of a line's letters."""
    font = ImageFont.load_default(min(48, max(12, width // 64)))
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _strip(entries: Sequence[_Entry], width: int) -> np.ndarray:
    font = font_of(width)
    size = int(font.size)
    pad, line = size // 2, int(size * 1.6)
    x, y, places = pad, pad // 2, []
    for color, text in entries:
        length = (size + pad if color else 0) + int(font.getlength(text))
        if x > pad and x + length + pad > width:
            x, y = pad, y + line
        places.append((x, y + line // 2, color, text))
        x += length + 2 * pad
    strip = Image.new("RGB", (width, y + line + pad // 2), PAPER)
    canvas = ImageDraw.Draw(strip)
    for x, middle, color, text in places:
        if color:
            canvas.rectangle((x, middle - size // 2, x + size, middle + size // 2), color, INK)
            x += size + pad
        canvas.text((x, middle), text, INK, font, anchor="lm")
    return np.array(strip)
